"""What a class needs beside the book: editions of its notebooks, assignments, and their grading."""
