"""A run, or many, as one HTML page that needs nothing else: no network, no server.

`one_run.py` and `many_runs.py` gather what is shown, and the jinja2 templates of `templates/` make
HTML of it. Curves are drawn where the page is opened, by `assets/chart.js` with uPlot;
`confusion.py`, `reliability.py` and `parallel.py` place what their templates draw as SVG. The board
of `board.py`, all runs to choose from, gets its values from the page, or from the server of
`serving.py` while the runs train.
"""
