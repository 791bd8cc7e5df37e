"""Networks in files: `state` takes a network apart and puts it together again, `model_file` is the file."""
