"""PYTHONPATH=generated:../../python .venv/bin/python -m unittest"""
