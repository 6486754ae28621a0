"""What the recipes are made of: pieces that several share, their pictures, tables and data."""
