"""A run, or many, as one HTML page that needs nothing else: no network, no server, no library.

`one_run.py` and `many_runs.py` gather what is shown and write its sections, with the charts of
`line_chart.py`, `confusion.py` and `parallel.py`; `page.py` puts them, `style.css` and `page.js`
into one file.
"""
