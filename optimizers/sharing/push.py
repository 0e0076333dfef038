"""A run's student and data on the Hugging Face hub, or in a folder that shows what would be uploaded."""

from __future__ import annotations

import logging
import re
import tempfile
from collections.abc import Callable
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from optimizers.sharing.bundles import CARD, WEIGHTS, Bundle, data_bundle, student_bundle
from optimizers.sharing.export import FORMATS, refuse_format, refuse_used
from optimizers.sharing.facts import TAG, labels_of, teacher_of
from optimizers.sharing.origins import is_hub_name
from optimizers.sharing.shared_run import SharedRun, finished_run

if TYPE_CHECKING:
    from huggingface_hub import HfApi

WHAT = ("all", "student", "data")
"""What of a run is pushed."""
_LICENSE = re.compile(r"[a-z0-9][a-z0-9.-]*")
_OURS = {
    "model": ("*.safetensors", "*.safetensors.index.json", "config.json", "adapter_config.json", "manifest.json", "gguf/model.*"),
    "dataset": ("questions.*", "rows.*", "traces.*"),
}
"""What an earlier push may have left that this one does not have: weights of another form would be loaded in place of its own."""
_OF_THE_HUB = {".gitattributes"}
logger = logging.getLogger(__name__)


class Pushed(NamedTuple):
    """Where things went.

    Attributes:
        student: The address of the student's repository, or its folder; None where it was not asked for.
        data: The same of the data set.
        warnings: What whoever shares it should know, such as a licence that is missing.
    """

    student: str | None
    data: str | None
    warnings: list[str]


class _Wanted(NamedTuple):
    """The arguments of `push_run` that say what the files are."""

    run: SharedRun
    repo: str
    data_repo: str
    student: str
    what: str
    weights: str
    gguf: bool
    license: str
    data_license: str
    base_model: str
    format: str

    @property
    def parts(self) -> dict[str, str]:
        """What is asked for, and its repository; the data first, as the student's card names it."""
        return {part: name for part, name in (("data", self.data_repo), ("student", self.repo)) if self.what in ("all", part)}

    def bundle(self, part: str, work: Path, license: str = "") -> Bundle:
        """The files of a part; `license` is one that the repository has already."""
        work = work / part
        work.mkdir(exist_ok=True)
        both = self.what == "all"
        if part == "data":
            given = self.data_license or license
            model_repo = self.repo if both else ""
            return data_bundle(self.run, work, repo=self.data_repo, license=given, model_repo=model_repo, format=self.format)
        return student_bundle(
            self.run, self.student, work, repo=self.repo, weights=self.weights, gguf=self.gguf, license=self.license or license,
            base_model=self.base_model, data_repo=self.data_repo if both else "",
        )  # fmt: skip


def push_run(
    run: Path | str, repo: str, *, what: str = "all", student: str = "", weights: str = "merged", gguf: bool = False,
    data_repo: str = "", public: bool = False, license: str = "", data_license: str = "", base_model: str = "", format: str = "parquet",
    folder: Path | str | None = None, tell: Callable[[str], None] = logger.info,
) -> Pushed:  # fmt: skip
    """Upload a run's student and data set to the Hugging Face hub, each with a card that is made from the run.

    All is checked and made before anything is uploaded, and each repository changes in one commit: a push that failed can be
    done again. The token is that of the hub's own library (`HF_TOKEN`, or `hf auth login`), as is the address (`HF_ENDPOINT`).

    Args:
        run: The folder of a finished run or experiment.
        repo: `OWNER/NAME` of the student.
        what: Of `WHAT`.
        student: Its name; see `SharedRun.student`.
        weights: `merged`, or `adapter` for the LoRA adapter alone.
        gguf: Whether to add a GGUF file.
        data_repo: `OWNER/NAME` of the data set; the student's with `-data` behind it by default.
        public: Whether new repositories can be read by anybody; by default they are private.
        license: Of the student, as the hub writes it (`apache-2.0`); by default the one in the card that is there, or none.
        data_license: The same of the data set.
        base_model: The student's base on the hub, where the package does not know it.
        format: `parquet` or `jsonl`.
        folder: Write what would be uploaded to this folder, as `student/` and `data/`, and upload nothing.
        tell: Told in a sentence what is done.

    Raises:
        ValueError: No finished run, no student or a damaged one, a bad name, no token, a repository that holds something else
            or is public, or a hub that refused. Says the next step.
    """
    wanted = _Wanted(
        finished_run(run), repo, data_repo or f"{repo}-data", student, what, weights, gguf, license, data_license, base_model, format
    )
    _check(wanted)
    if folder is not None:
        return _written(wanted, Path(folder))
    api = _api()
    there = {part: _existing(api, part, name, public) for part, name in wanted.parts.items()}
    with tempfile.TemporaryDirectory(prefix="divide-or-conquer-") as work:
        bundles = {part: wanted.bundle(part, Path(work), there[part].license) for part in wanted.parts}
        urls = {part: _upload(api, bundles[part], name, there[part], public, tell) for part, name in wanted.parts.items()}
    return Pushed(urls.get("student"), urls.get("data"), _warnings(wanted, bundles))


def _check(wanted: _Wanted) -> None:
    """Refuse what can be known to be wrong without the hub."""
    for name, value, valid in (("what", wanted.what, WHAT), ("weights", wanted.weights, WEIGHTS)):
        if value not in valid:
            raise ValueError(f"{name}={value!r} must be one of {list(valid)}.")
    refuse_format(wanted.format, FORMATS[:2])
    for flag, name in (("--repo", wanted.repo), ("--data-repo", wanted.data_repo), ("--base-model", wanted.base_model)):
        if name or flag == "--repo":
            _check_name(flag, name)
    if wanted.repo == wanted.data_repo:
        raise ValueError(f"The student and the data set cannot both be {wanted.repo}; name another --data-repo.")
    for flag, license in (("--license", wanted.license), ("--data-license", wanted.data_license)):
        if license and not _LICENSE.fullmatch(license):
            raise ValueError(f"{flag} {license!r} is no licence as the hub writes them, such as apache-2.0, mit, cc-by-4.0 or other.")
    if "student" in wanted.parts:
        wanted.run.artifact(wanted.run.student(wanted.student))


def _check_name(flag: str, name: str) -> None:
    from huggingface_hub.utils import HFValidationError, validate_repo_id

    form = "give it as OWNER/NAME, where OWNER is your name on the hub or that of an organisation"
    if not is_hub_name(name):
        raise ValueError(f"{flag} {name!r} is no name of a repository: {form}.")
    try:
        validate_repo_id(name)
    except HFValidationError as error:
        raise ValueError(f"{flag} {name!r} is no name of a repository ({error}); {form}.") from error


def _written(wanted: _Wanted, folder: Path) -> Pushed:
    refuse_used(folder)
    with tempfile.TemporaryDirectory(prefix="divide-or-conquer-") as work:
        bundles = {part: wanted.bundle(part, Path(work)) for part in wanted.parts}
        for part, bundle in bundles.items():
            bundle.write(folder / part)
    paths = {part: str(folder / part) for part in bundles}
    return Pushed(paths.get("student"), paths.get("data"), _warnings(wanted, bundles))


def _api() -> HfApi:
    """The hub's own client, for somebody that the hub knows."""
    from huggingface_hub import HfApi, get_token

    if not get_token():
        raise ValueError(
            "There is no token for the hub: 'hf auth login' keeps one, or set HF_TOKEN (https://huggingface.co/settings/tokens, one that "
            "may write). To see first what would be uploaded: --dry-run FOLDER."
        )
    api = HfApi(library_name=TAG)
    _asked(api, "The hub does not know you", api.whoami)
    return api


class _There(NamedTuple):
    """A repository as it is now: its files, the licence in its card, and who can read it; None before there is one."""

    files: tuple[str, ...] = ()
    license: str = ""
    private: bool | None = None


def _existing(api: HfApi, part: str, name: str, public: bool) -> _There:
    """What is in the repository already; refuses one that holds something else, or that anybody can read unasked."""
    from huggingface_hub.errors import RepositoryNotFoundError

    kind = "dataset" if part == "data" else "model"
    info = _asked(api, f"Cannot look at {name}", _unless(RepositoryNotFoundError, lambda: api.repo_info(name, repo_type=kind)))
    if info is None:
        return _There()
    files = tuple(file.rfilename for file in info.siblings or () if file.rfilename not in _OF_THE_HUB)
    card = info.card_data
    tags = {*(info.tags or ()), *((card and card.get("tags")) or ())}
    flag = "--data-repo" if part == "data" else "--repo"
    if files and TAG not in tags:
        raise ValueError(f"{name} holds something else ({', '.join(files[:3])}); choose another name: {flag} OWNER/NAME.")
    if not info.private and not public:
        raise ValueError(f"{name} is there already, and public. If that is meant, add --public; else choose another: {flag} OWNER/NAME.")
    license = card.get("license") if card else None
    return _There(files, license if isinstance(license, str) else "", bool(info.private))


def _unless(kind: type[Exception], call: Callable[[], Any]) -> Callable[[], Any]:
    def asked() -> Any:
        try:
            return call()
        except kind:
            return None

    return asked


def _upload(api: HfApi, bundle: Bundle, name: str, there: _There, public: bool, tell: Callable[[str], None]) -> str:
    """Put the files in place in one commit; those that are there already are not sent again."""
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    private = not public if there.private is None else there.private
    tell(f"Uploading {len(bundle.files)} files to {name} ({bundle.kind}, {'private' if private else 'public'})")
    additions = [CommitOperationAdd(path, content) for path, content in bundle.files.items()]
    gone = [path for path in there.files if path not in bundle.files and any(_is_of(path, pattern) for pattern in _OURS[bundle.kind])]
    operations: list[CommitOperationAdd | CommitOperationDelete] = [*additions, *map(CommitOperationDelete, gone)]

    def send() -> str:
        url = api.create_repo(name, repo_type=bundle.kind, private=not public, exist_ok=True)
        api.create_commit(name, operations, commit_message=f"Push by {TAG}", repo_type=bundle.kind)
        return str(url)

    return _asked(api, f"{name} was not uploaded", send, " What is there is as it was; the same command goes on.")


def _is_of(path: str, pattern: str) -> bool:
    return path.count("/") == pattern.count("/") and fnmatchcase(path, pattern)


def _asked(api: HfApi, what: str, call: Callable[[], Any], then: str = "") -> Any:
    """What the hub answers; what it raises, as one sentence that holds no token."""
    from huggingface_hub import get_token

    try:
        return call()
    except Exception as error:
        # The library raises a dozen unrelated kinds for a missing network, a refusal or a broken upload.
        status = getattr(getattr(error, "response", None), "status_code", None)
        step = " The token may not do that: 'hf auth login' takes one that may write there." if status in (401, 403) else ""
        chain = [error, *filter(None, [error.__cause__])]
        said = "; ".join(" ".join(str(one).split())[:400] for one in chain).replace(get_token() or "\0", "(token)")
        raise ValueError(f"{what} at {api.endpoint}: {type(error).__name__}: {said.rstrip('.')}.{step}{then}") from error


def _warnings(wanted: _Wanted, bundles: dict[str, Bundle]) -> list[str]:
    """What is missing in the cards, and what whoever shares them answers for."""
    from huggingface_hub import DatasetCard, ModelCard

    found = []
    for part, bundle in bundles.items():
        content, flag = bundle.files[CARD], "--data-license" if part == "data" else "--license"
        card = (DatasetCard if part == "data" else ModelCard)(content.decode() if isinstance(content, bytes) else content.read_text())
        if not card.data.get("license"):
            whose = "data set" if part == "data" else "student"
            found.append(f"The card of the {whose} has no licence yet: {flag} LICENCE, or fill it in.")
    teacher, labels = teacher_of(wanted.run), labels_of(wanted.run)
    if labels:
        found.append(f"Of the decompositions {labels.words()}: under which terms the traces may be shared and trained on is yours to know.")
    if not teacher.license and (labels is None or labels.asked or labels.calls):
        found.append(f"Whether replies of {teacher.shown} may be shared and trained on is said by its maker's terms; read them first.")
    return found
