"""The controller manager: each controller a reconciler over the store, meeting the others only in objects."""
