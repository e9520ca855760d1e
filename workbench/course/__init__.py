"""Assignments of the course: how they are made, checked and marked.

``checks``
    What the check cells of an assignment call; a failed check names the fault.
``nbgrader``
    The road through the real nbgrader: ``solutions/`` to ``exercises/``, and
    submissions to marks.

Instructors write ``solutions/NAME/NAME.ipynb``.  Students receive
``exercises/NAME/NAME.ipynb``, which is made from it and never edited.
"""

from workbench.course.selfcheck import check

__all__ = ["check"]
