"""Tokenizers in files that other programs read and write, one format in one file; `minillm.tokenizer.files` chooses."""
