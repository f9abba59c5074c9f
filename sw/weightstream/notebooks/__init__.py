"""The notebooks that ``pynq get-notebooks weightstream`` delivers.

They are kept in docs/notebooks; a wheel has them here.
"""
