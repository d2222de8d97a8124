"""Documents of a run in, HTML, Markdown and text out. Needs no cluster and no network."""
