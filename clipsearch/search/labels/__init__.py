"""Zero-shot labels: which words of a list fit photos best."""
