"""What maintains the book: running chapters, making the small data files. No chapter imports this."""
