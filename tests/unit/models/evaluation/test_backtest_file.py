"""The backtest command on files of strangers: a row for a row, or one sentence that says what is wrong where."""

from __future__ import annotations

import csv
import gzip
import io
import itertools
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.errors import StationwatchError
from models.backtest import main
from models.evaluation.recorded_history import read_recorded
from models.files.reading_table import milliseconds

HEADER = "station_id,event_time,temperature\n"
START = datetime(2026, 11, 21, tzinfo=UTC)


def lines(rows: int = 60, station: str = "007") -> str:
    rng = np.random.default_rng(1)
    return "".join(
        f"{station},{(START + timedelta(minutes=row)).isoformat()},{20 + rng.normal():.2f}\n" for row in range(rows)
    )


GOOD = lines()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(readings: str, *more: str, sensors: str = "temperature", out: str = "out.csv") -> int:
    given_rows = () if "--train-until" in more or "--train-rows" in more else ("--train-rows", "50")
    return main(["--readings", readings, "--sensors", sensors, "--out", out, "--trees", "10", *given_rows, *more])


def verdicts(out: str = "out.csv") -> list[dict[str, str]]:
    with Path(out).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_out_has_a_row_for_each_row_in_its_order_as_it_stands(folder: Path) -> None:
    """Breaks when 007 becomes 7, a time is rewritten, rows are sorted, or a column has another name."""
    odd = [
        ("007", "2026-11-22 10:00:00", "21"),
        ("Ä-3", "2026-11-22T11:00:00.1234567+05:30", " 20.5 "),
        ("7", "20261122T101504Z", ""),
        ('a "b", c', "2026-11-20", "NaN"),
        ("nan", "2026-11-22T10:15:04,250-0330", "null"),
        ("007", "2026-11-22T10:00:00Z", "1e-3"),
    ]
    with (folder / "in.csv").open("w", newline="", encoding="utf-8") as file:
        file.write(HEADER + GOOD)
        csv.writer(file).writerows(odd)
    assert run("in.csv") == 0
    rows = verdicts()
    assert list(rows[0])[:6] == ["station_id", "event_time", "score", "is_anomaly", "severity", "rules"]
    assert len(rows) == 66
    assert [(row["station_id"], row["event_time"]) for row in rows[60:]] == [row[:2] for row in odd]
    assert rows[65]["state"] == "duplicate" and rows[65]["score"] == rows[60]["score"]
    assert {row["is_anomaly"] for row in rows} <= {"true", "false"}
    assert all(np.isfinite(float(row["score"])) for row in rows)


def test_same_input_and_seed_give_the_same_bytes(folder: Path) -> None:
    """Breaks when the clock, the path or a hash seed reaches the output."""
    (folder / "in.csv").write_text(HEADER + GOOD + lines(station="b"))
    assert run("in.csv", "--report", "one.html") == run("in.csv", "--report", "two.html", out="again.csv") == 0
    assert Path("out.csv").read_bytes() == Path("again.csv").read_bytes()
    assert Path("one.html").read_bytes() == Path("two.html").read_bytes()


@pytest.mark.parametrize("form", ["crlf", "cr", "bom", "quoted", "gzip", "blank lines", "other columns", "parquet"])
def test_the_form_of_the_file_does_not_matter(folder: Path, form: str) -> None:
    """Breaks when a file as Windows, a spreadsheet or a data frame writes it is read otherwise, or not at all."""
    text = HEADER + GOOD + "b,2026-11-22,\n"
    (folder / "plain.csv").write_text(text)
    assert run("plain.csv") == 0
    name = "in.csv"
    if form == "crlf":
        data = text.replace("\n", "\r\n").encode()
    elif form == "cr":
        data = text.replace("\n", "\r").encode()
    elif form == "bom":
        data = text.encode("utf-8-sig")
    elif form == "quoted":
        data = "".join('"' + line.replace(",", '","') + '"\n' for line in text.splitlines()).encode()
    elif form == "gzip":
        name, data = "in.csv.gz", gzip.compress(text.encode())
    elif form == "blank lines":
        data = ("\n\n" + text.replace("\n", "\n\n")).encode()
    elif form == "other columns":
        # Columns that are not read may be in another encoding, and have one name.
        data = (
            "".join(f"M\xfcller,{line},x\n" for line in text.splitlines())
            .replace("M\xfcller", "x", 1)
            .encode("latin-1")
        )
    else:
        name, frame = "in.parquet", pd.read_csv(folder / "plain.csv", dtype={"station_id": str, "event_time": str})
        frame.to_parquet(folder / name)
        data = (folder / name).read_bytes()
    (folder / name).write_bytes(data)
    assert run(name, out="other.csv") == 0
    assert Path("other.csv").read_bytes() == Path("out.csv").read_bytes()


def test_parquet_of_other_types(folder: Path) -> None:
    """Breaks when times, whole numbers, categories or floats of a data frame are refused or read as something else."""
    moments = pd.date_range("2026-11-21", periods=40, freq="1min", tz="Europe/Berlin")
    frame = pd.DataFrame(
        {
            "station_id": pd.Categorical(["7"] * 40),
            "event_time": moments,
            "temperature": np.arange(40) % 7,
            "humidity": np.where(np.arange(40) == 3, np.nan, 50.0).astype(np.float32),
            "door": np.arange(40) % 2 == 0,
        }
    )
    frame.to_parquet(folder / "in.parquet")
    assert run("in.parquet", sensors="temperature,humidity,door", out="out.parquet") == 0
    out = pq.read_table(folder / "out.parquet").to_pandas()
    assert len(out) == 40 and out["event_time"].iloc[0] == "2026-11-20T23:00:00.000Z"
    assert out["is_anomaly"].dtype == bool and out["score"].notna().all()
    recorded = read_recorded(Path("in.parquet"), ("temperature", "humidity", "door"))
    np.testing.assert_array_equal(recorded.history.values[:4], [[0, 50, 1], [1, 50, 0], [2, 50, 1], [3, np.nan, 0]])


SENTENCES = {
    "absent": (None, "No such file"),
    "empty": ("", "it is empty"),
    "only a header": (HEADER, "holds no readings"),
    "a column too few": ("station_id,event_time,humidity\n" + GOOD, "column temperature is missing; found: station_id"),
    "semicolons": ((HEADER + GOOD).replace(",", ";"), "fields are separated by commas"),
    "a doubled column": (HEADER.replace("\n", ",temperature\n") + GOOD.replace("\n", ",1\n"), "stands 2 times"),
    "no number": (HEADER + GOOD + "b,2026-11-21,21.x\n", "line 62, column temperature: '21.x' is not a finite number"),
    "decimal comma": (HEADER + GOOD + 'b,2026-11-21,"2,5"\n', "line 62, column temperature: '2,5'"),
    "infinite": (HEADER + GOOD + "b,2026-11-21,-inf\n", "line 62, column temperature: '-inf' is not a finite number"),
    "overflow": (HEADER + GOOD + "b,2026-11-21,1e400\n", "line 62, column temperature: '1e400'"),
    "no time": (HEADER + GOOD + "b,yesterday,2\n", "line 62, column event_time: 'yesterday' is not a time such as"),
    "no day": (HEADER + GOOD + "b,2026-02-30,2\n", "line 62, column event_time: '2026-02-30'"),
    "empty time": (HEADER + GOOD + "b,,2\n", "line 62, column event_time: ''"),
    "epoch": (HEADER + GOOD + "b,1795255000,2\n", "line 62, column event_time: '1795255000'"),
    "epoch that looks like a date": (HEADER + GOOD + "b,1612111012250,2\n", "line 62, column event_time"),
    "no station": (HEADER + GOOD + ",2026-11-21,2\n", "line 62, column station_id: ''"),
    "long line": (HEADER + GOOD + "b,2026-11-21,2,3\n" + GOOD, "line 62 has 4 fields, the header 3"),
    "short line": (HEADER + GOOD + "b,2026-11-21\n" + GOOD, "line 62 has 2 fields, the header 3"),
    "after a quoted newline": (HEADER + '"a\nb",2026-11-21,1\n\n' + GOOD + "b,2026-11-21,x\n", "line 65, column"),
    "quote not closed": (HEADER + GOOD + '"b,2026-11-21,1\n' + GOOD, "line 62 has 1 fields"),
    "latin-1": ((HEADER + GOOD + "M\xfcll,2026-11-21,2\n").encode("latin-1"), "line 62: the byte b'\\xfc'"),
    "utf-16": ((HEADER + GOOD).encode("utf-16"), "no CSV header in UTF-8"),
    "damaged parquet": (b"PAR1 and no more", "cannot be read"),
    "damaged gzip": (gzip.compress((HEADER + GOOD).encode())[:-20], "no whole gzip file"),
    "seq": ("station_id,event_time,temperature,seq\n" + GOOD.replace("\n", ",1.5\n"), "line 2, column seq: '1.5'"),
    "no seq": ("station_id,event_time,temperature,seq\n" + GOOD.replace("\n", ",\n"), "column seq: '' is not a whole"),
}  # fmt: skip


@pytest.mark.parametrize("case", SENTENCES)
def test_a_malformed_file_is_one_sentence(folder: Path, capsys: pytest.CaptureFixture[str], case: str) -> None:
    """Breaks when somebody gets a traceback, has to search for the bad line, or finds half an output."""
    content, sentence = SENTENCES[case]
    if content is not None:
        (folder / "in.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    assert run("in.csv") == 2
    shown = capsys.readouterr().err
    assert "models.backtest: in.csv" in shown and sentence in shown
    assert shown.count("\n") == 1
    assert sorted(path.name for path in folder.iterdir() if path.name != "in.csv") == []


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--out", "missing/out.csv"), "folder missing does not exist"),
        (("--out", "out.txt"), "ending in .csv or .parquet"),
        (("--out", "in.csv"), "the history itself"),
        (("--report", "page.pdf"), "ending in .html"),
        (("--labels", "none.csv"), "none.csv: cannot be read"),
        (("--sensors", "temperature,temperature"), "named twice"),
        (("--sensors", "seq"), "no sensor"),
        (("--readings", "."), "cannot be read"),
    ],
)
def test_unusable_options_are_one_sentence(
    folder: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], sentence: str
) -> None:
    """Breaks when a mistake is found after the work, or in a traceback."""
    (folder / "in.csv").write_text(HEADER + GOOD)
    assert run("in.csv", *options) == 2
    shown = capsys.readouterr().err
    assert sentence in shown and shown.count("\n") == 1
    assert (folder / "in.csv").read_text() == HEADER + GOOD


@pytest.mark.parametrize("options", [("--train-until", "soon"), ("--train-rows", "-1"), ("--sensors", "a,,b")])
def test_options_that_say_nothing_are_refused(folder: Path, options: tuple[str, ...]) -> None:
    """Breaks when a typo trains on something else than was meant."""
    with pytest.raises(SystemExit) as caught:
        run("in.csv", *options)
    assert caught.value.code == 2


def test_training_ends_at_a_time_or_after_a_number_of_rows(folder: Path) -> None:
    """Breaks when --train-until does not win, or counts the reading at TIME itself."""
    (folder / "in.csv").write_text(HEADER + GOOD)
    assert run("in.csv", "--train-rows", "10", "--train-until", "2026-11-21T01:40:00+01:00") == 0
    assert [row["state"] for row in verdicts()].count("training") == 40
    assert run("in.csv", "--train-rows", "10") == 0
    assert [row["state"] for row in verdicts()].count("training") == 10


def test_a_catalogue_gives_plausible_ranges(folder: Path) -> None:
    """Breaks when a stranger's Kelvin are judged by our degrees, or a given range is not applied."""
    (folder / "in.csv").write_text(HEADER + GOOD + "007,2026-11-21T01:00:00Z,300\n")
    assert run("in.csv") == 0
    assert "implausible" not in verdicts()[-1]["rules"]
    assert run("in.csv", "--catalogue", '[{"name":"temperature","plausible":[-40,85]}]') == 0
    assert verdicts()[-1]["rules"] == "implausible" and verdicts()[-1]["is_anomaly"] == "true"


def test_labels_give_figures_and_the_page_holds_all_it_shows(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Breaks when a fault is not counted, an id runs as markup, or the page needs an address."""
    rows = (HEADER + lines(200, "<script>alert(1)</script>") + lines(200, "s2")).splitlines()
    rows[150] = ",".join([*rows[150].split(",")[:2], "90"])
    (folder / "in.csv").write_text("\n".join(rows) + "\n")
    at = START + timedelta(minutes=149)
    (folder / "labels.csv").write_text(
        "station,sensor,kind,start,end,magnitude\n"
        f"<script>alert(1)</script>,temperature,spike,{at.isoformat()},{at.isoformat()},10\n"
        f"elsewhere,temperature,spike,{at.isoformat()},{at.isoformat()},10\n"
    )
    assert run("in.csv", "--labels", "labels.csv", "--report", "page.html") == 0
    shown = capsys.readouterr()
    assert "1 labels belong to stations without readings" in shown.err
    spike = next(line for line in shown.out.splitlines() if line.startswith("spike"))
    assert spike.split()[1:3] == ["1", "1.00"]
    page = (folder / "page.html").read_text(encoding="utf-8")
    assert "<script" not in page and "://" not in page and "&lt;script&gt;" in page
    assert page.count("<img") == 2 and "<td>spike</td>" in page


def test_labels_may_be_none_and_must_be_in_order(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Breaks when a clean history cannot be measured, or a fault that ends before it starts is counted."""
    (folder / "in.csv").write_text(HEADER + GOOD)
    (folder / "labels.csv").write_text("station_id,sensor,kind,start,end,magnitude\n")
    assert run("in.csv", "--labels", "labels.csv") == 0
    assert "false alarm episodes per station and day" in capsys.readouterr().out
    (folder / "labels.csv").write_text("station,start,end\n007,2026-11-22,2026-11-21\n")
    assert run("in.csv", "--labels", "labels.csv") == 2
    assert "labels.csv: line 2, column end: '2026-11-21' is not a time at or after start" in capsys.readouterr().err


# Line ends and lone surrogates apart, any text may be an id.
IDS = st.text(st.characters(codec="utf-8", exclude_characters="\r\n\0"), min_size=1, max_size=12)
VALUES = st.none() | st.floats(allow_nan=False, allow_infinity=False)
MOMENTS = st.datetimes(datetime(1, 1, 3), datetime(9999, 12, 29))


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(IDS, MOMENTS, VALUES), min_size=1, max_size=30))
def test_any_readings_survive_the_file(tmp_path: Path, rows: list[tuple[str, datetime, float | None]]) -> None:
    """Breaks when quoting, rounding, signs or years change a reading between file and history."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["event_time", "temperature", "station_id"])
    writer.writerows([moment.isoformat(), "" if value is None else repr(value), name] for name, moment, value in rows)
    (tmp_path / "in.csv").write_text(text.getvalue(), encoding="utf-8", newline="")
    columns = {
        "station_id": pa.array([row[0] for row in rows]),
        "event_time": pa.array([row[1].isoformat() for row in rows]),
        "temperature": pa.array([row[2] for row in rows], pa.float64()),
    }
    pq.write_table(pa.table(columns), tmp_path / "in.parquet")
    for name in ("in.csv", "in.parquet"):
        history = read_recorded(tmp_path / name, ("temperature",)).history
        assert history.station_ids == [row[0] for row in rows]
        expected = [(row[1] - datetime(1970, 1, 1)) // timedelta(milliseconds=1) for row in rows]
        assert history.event_ms.tolist() == expected
        np.testing.assert_array_equal(history.values[:, 0], [np.nan if row[2] is None else row[2] for row in rows])


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_bytes_are_readings_or_a_sentence(tmp_path: Path, data: st.DataObject) -> None:
    """Breaks when a damaged file ends in anything but a StationwatchError."""
    content = bytearray((HEADER + lines(5) + '"x, ""y""\nz",2026-11-21,\n').encode())
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(content)))
        cut = data.draw(st.integers(0, 5))
        content[place : place + cut] = data.draw(
            st.binary(max_size=4) | st.sampled_from([b",", b'"', b"\r", b"\n", b"\0"])
        )
    (tmp_path / "in.csv").write_bytes(bytes(content))
    try:
        history = read_recorded(tmp_path / "in.csv", ("temperature",)).history
    except StationwatchError as error:
        assert str(error).startswith(str(tmp_path / "in.csv"))
    else:
        assert len(history) == len(history.station_ids) == len(history.values) > 0


@given(MOMENTS, st.integers(-14 * 60, 14 * 60), st.sampled_from(["T", " "]), st.booleans())
def test_times_of_any_offset_are_the_same_moment(moment: datetime, minutes: int, between: str, basic: bool) -> None:
    """Breaks when an offset is dropped or added the wrong way round, or a time before 1970 is rounded up."""
    zone = timezone(timedelta(minutes=minutes))
    local = (moment.replace(tzinfo=UTC) + timedelta(minutes=minutes)).replace(tzinfo=zone)
    text = local.isoformat(sep=between)
    if basic:
        day, rest = text.split(between, 1)
        text = day.replace("-", "") + between + rest[:-6].replace(":", "") + rest[-6:].replace(":", "")
    assert milliseconds(text) == (moment - datetime(1970, 1, 1)) // timedelta(milliseconds=1)


def test_missing_is_what_programs_write_for_it(folder: Path) -> None:
    """Breaks when a data frame's, a database's or a C program's word for no value is an error or a number."""
    words = ["", " ", "nan", "NaN", "-nan", "null", "NULL", "None", "NA", "n/a", "#N/A", "<NA>"]
    rows = [f"s,{(START + timedelta(minutes=row)).isoformat()},{word}\n" for row, word in enumerate(words)]
    for plus in ("", "s,2027-01-01,+1\n"):
        (folder / "in.csv").write_text(HEADER + "".join(itertools.chain(rows, plus)))
        values = read_recorded(Path("in.csv"), ("temperature",)).history.values[:, 0]
        assert np.isnan(values[: len(words)]).all() and (not plus or values[-1] == 1.0)
