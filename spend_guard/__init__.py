"""Asked before each call: whether an account can afford it; holds its credits until the receipt."""
