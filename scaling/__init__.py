"""How well a training scales, and why: measured, fitted, drawn, held against published figures.

`python -m scaling run | fit | report | check`. It starts programs from outside and reads what they
leave behind, summary.json above all; it imports nothing of them.
"""
