"""The site. What of it is made from code is made by `python -m docs.making`."""
