"""Quantiles, histograms and summaries. Pure."""
