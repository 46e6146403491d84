"""What every process of the cell does alike."""

from kinema.apps import process


def test_who_serves_others_ends_after_them():
    told, serving = [False], [True]
    over = process.last(lambda: told[0], lambda: serving[0])
    assert not over()
    told[0] = True
    assert not over()
    serving[0] = False
    assert over()


def test_who_serves_others_waits_for_them_no_longer_than_a_second(monkeypatch):
    now = [5.0]
    monkeypatch.setattr(process.time, "monotonic", lambda: now[0])
    over = process.last(lambda: True, lambda: True)
    assert not over()
    now[0] += 0.9
    assert not over()
    now[0] += 0.2
    assert over()
