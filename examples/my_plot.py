"""A plot of your own: cnnrun viz confidence RUN --plugin examples/my_plot.py"""

from cnnrun.plugin import Figure, Target, new_figure, plots, softmax, styled


@plots.register("confidence")
@styled
def confidence(target: Target, *, bins: int = 20) -> Figure:
    """How sure the model is of its answers on the test images."""
    sure = softmax(target.predictions().answers["outputs"]).max(1)
    figure = new_figure(640, 400, layout="constrained")
    axes = figure.subplots()
    axes.hist(sure, bins=bins, range=(0, 1))
    axes.set(xlabel="probability of the answer", ylabel="test images", title="Confidence")
    return figure
