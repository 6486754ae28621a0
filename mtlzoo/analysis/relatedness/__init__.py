"""Are tasks related: measures between them, groups to train together, and what that gains."""
