"""What must hold of every figure, as it is drawn."""

from itertools import pairwise

from matplotlib.figure import Figure


def assert_no_tick_labels_touch(figure: Figure) -> None:
    """All tick labels of every axis that are shown are apart, by their boxes as drawn."""
    figure.draw_without_rendering()
    for axes in (each for each in figure.axes if each.get_visible()):
        for axis, side in ((axes.xaxis, "x"), (axes.yaxis, "y")):
            boxes = [
                tick.label1.get_window_extent()
                for tick in axis.get_major_ticks()
                if tick.label1.get_text() and tick.label1.get_visible()
            ]
            spans = sorted((getattr(box, f"{side}0"), getattr(box, f"{side}1")) for box in boxes)
            if boxes and axis.get_major_ticks()[0].label1.get_rotation() == 0:
                assert all(left[1] <= right[0] for left, right in pairwise(spans)), axis.get_label_text()
