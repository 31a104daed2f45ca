"""`batch:` -> BatchRequest."""

from vtorque_spec.diagnostics import Code, Report
from vtorque_spec.plan import Array, BatchRequest, Dependency, IndexRange, Mail
from vtorque_spec.resolve.common import said
from vtorque_spec.spec import JobSpec
from vtorque_spec.spec.batch import Batch
from vtorque_spec.spec.parse import NormalForm


def batch_request(spec: JobSpec) -> BatchRequest:
    """Return what is asked of the batch system; the array is one that `check_array` had nothing against."""
    batch = said(spec.batch)
    return BatchRequest(
        nodes=said(batch.nodes),
        exclusive=batch.exclusive,
        walltime_s=said(batch.walltime),
        queue=batch.queue,
        account=batch.account,
        output=batch.output,
        join=said(batch.join),
        features=tuple(dict.fromkeys(batch.features or ())),
        array=None if batch.array is None else _array(batch.array),
        depends=_depends(batch),
        mail=_mail(batch),
    )


def check_array(spec: JobSpec, normal: NormalForm, report: Report) -> None:
    """Add a finding for each range that ends before it begins, and for each that has an index of another one."""
    text = said(spec.batch).array
    if text is None:
        return
    place, widest = normal.at(("batch", "array")), None
    for part in _array(text).ranges:
        if part.last < part.first:
            message = f"the array's range {part.first}-{part.last} ends before it begins"
            report.add(Code.ARRAY_RANGE, message, place, help=f"write {part.last}-{part.first}")
            continue
        if widest is not None and part.first <= widest.last:
            message = f"{_shown(widest)} and {_shown(part)} of the array have an index in common"
            report.add(Code.ARRAY_RANGE, message, place, help="name each index once")
        if widest is None or part.last > widest.last:
            widest = part


def _array(text: str) -> Array:
    listed, _, at_once = text.partition("%")
    bounds = [[int(bound) for bound in part.split("-")] for part in listed.split(",")]
    ranges = tuple(IndexRange(first, last) for first, last in sorted((bound[0], bound[-1]) for bound in bounds))
    return Array(ranges, int(at_once) if at_once else None)


def _depends(batch: Batch) -> tuple[Dependency, ...]:
    return tuple(Dependency(kind, jobs) for kind, jobs in sorted((batch.depends or {}).items()) if jobs)


def _mail(batch: Batch) -> Mail | None:
    if batch.mail is None:
        return None
    return Mail(tuple(dict.fromkeys(batch.mail.to)), tuple(sorted(set(said(batch.mail.events)))))


def _shown(part: IndexRange) -> str:
    return str(part.first) if part.first == part.last else f"{part.first}-{part.last}"
