"""The proof of the instrument: each part of it held against something that is known."""
