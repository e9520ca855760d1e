"""The same model in each era; see the package above for what the files share."""
