"""Findings: what is wrong, where, why, and what to do about it, each apart. Imports nothing of ours."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum


class Severity(Enum):
    """Errors stop the next stage; warnings do not."""

    ERROR = "error"
    WARNING = "warning"


class Code(Enum):
    """Every kind of finding. Numbers are stable, append-only, grouped by stage; docs/errors has a page for each."""

    YAML_SYNTAX = ("VT0001", "the file is not valid YAML")
    DUPLICATE_KEY = ("VT0002", "a mapping has the same key twice")
    ANCHOR = ("VT0003", "anchors and aliases are not part of the language")
    TAG = ("VT0004", "tags are not part of the language")
    SEVERAL_DOCUMENTS = ("VT0005", "the file holds more than one document")
    EMPTY_FILE = ("VT0006", "the file is empty")
    NOT_A_MAPPING = ("VT0007", "the top level is not a mapping")
    NOT_UTF8 = ("VT0008", "the file is not UTF-8")
    TAB = ("VT0009", "a tab is used as indentation")
    UNCLEAR_NUMBER = ("VT0010", "a number is written in a way that programs read differently")
    LIMIT = ("VT0011", "the file exceeds a limit of the language")
    BAD_KEY = ("VT0012", "a key is not plain text")
    CONTROL_CHARACTER = ("VT0013", "the file holds a control character")
    UNREADABLE = ("VT0014", "the file cannot be read")

    WRONG_TYPE = ("VT0101", "a value has the wrong type")
    UNKNOWN_KEY = ("VT0102", "a key is not known")
    MISSING_KEY = ("VT0103", "a required key is missing")
    NOT_ALLOWED_WORD = ("VT0104", "a value is not one of the allowed words")
    OUT_OF_RANGE = ("VT0105", "a number is out of range")
    BAD_FORMAT = ("VT0106", "a text does not have the form that is needed")
    BAD_QUANTITY = ("VT0107", "a quantity has no unit or an unknown one")
    NO_VALUE = ("VT0108", "a key has no value")
    EXACTLY_ONE = ("VT0109", "exactly one of several keys is needed")
    BAD_LENGTH = ("VT0110", "a list has too few items")
    API_VERSION = ("VT0111", "the apiVersion is not one that this program reads")
    NOT_YET = ("VT0112", "this version does not honour the field yet")

    POLICY = ("VT0201", "the site's policy forbids this")
    NOT_EVALUATED = ("VT0202", "a rule of the site's policy was not evaluated", Severity.WARNING)

    GUEST_MISMATCH = ("VT0301", "the guest kind is not the image's")
    MAP_LENGTH = ("VT0302", "the pinning map does not have one entry per vCPU")
    MAP_REPEATS = ("VT0303", "the pinning map names a CPU twice")
    TIME_ORDER = ("VT0304", "the times do not fit into each other")
    SCRIPT_FILE = ("VT0305", "a file that the job names cannot be used")
    DIRECTIVE_IN_RUN = ("VT0306", "a batch directive inside the job's text has no effect", Severity.WARNING)
    TARGET_TWICE = ("VT0307", "two mounts have the same target")
    UNKNOWN_MOUNT = ("VT0308", "the site offers no mount of that name")
    UNKNOWN_NETWORK = ("VT0309", "the site offers no network of that name")
    RESERVED_TARGET = ("VT0311", "a mount would hide a directory that the guest needs")
    MOUNT_MODE = ("VT0312", "the site offers the mount read-only")
    MOUNT_INSIDE = ("VT0313", "a mount lies inside another")
    IOCM_ORDER = ("VT0314", "more I/O cores work from the start than are set aside")
    NOT_WHOLE_PAGES = ("VT0315", "the memory is not whole huge pages")
    UNKNOWN_QUEUE = ("VT0316", "the site has no queue of that name")
    VCPU_LIMIT = ("VT0317", "a VM cannot have so many vCPUs")
    ARRAY_RANGE = ("VT0318", "the ranges of a job array do not fit together")
    FOREIGN_JOB_ID = ("VT0319", "a job id is not one of the batch system's")
    NOT_JOINED = ("VT0320", "the job's VMs do not reach each other")
    TOO_FEW_ADDRESSES = ("VT0321", "the network has too few addresses for the job's VMs")
    NODE_COUNT = ("VT0322", "the job has another number of nodes than it asks for")
    DISK_TWICE = ("VT0323", "two disks have the same name")
    MOUNT_CAPABILITY = ("VT0324", "the image cannot mount what the job asks for")
    TOO_MANY_DISKS = ("VT0325", "a VM cannot have so many disks")
    NO_WAY_OUT = ("VT0326", "the job's network has no way out")
    NO_APT = ("VT0327", "the image cannot install packages")

    TOO_MANY_CPUS = ("VT0401", "the job needs more CPUs than a node has")
    MAP_OUTSIDE = ("VT0402", "the pinning map names a CPU outside the job's allotment")
    TOO_MUCH_MEMORY = ("VT0403", "the job needs more memory than a node has")
    MAP_TAKEN = ("VT0404", "the pinning map names a CPU that is not the job's")
    MAP_CORE_TWICE = ("VT0405", "the pinning map gives a core to two that may not share it")
    NO_CELL = ("VT0406", "the VMs do not find the cells or cores that they need")
    TOO_FEW_PAGES = ("VT0407", "the job needs more huge pages than a node has")
    SKVM_LIMIT = ("VT0408", "the site's I/O manager cannot serve the job")
    CLASS_UNASKABLE = ("VT0409", "the job fits on some nodes only, and the site has no word to ask for them")
    MAP_UNKNOWN = ("VT0410", "it is not known which CPUs the pinning map will name")
    TOO_FEW_DEVICES = ("VT0411", "the job needs more devices than a node has")

    UNKNOWN_IMAGE = ("VT0501", "the catalogue has no image of that name")
    IMAGE_NOT_BUILT = ("VT0502", "the image is not on this machine")
    IMAGE_DIGEST = ("VT0503", "the image is not the one that its digest names")
    IMAGE_MEMORY = ("VT0504", "the image needs more memory")
    IMAGE_DISK = ("VT0505", "the image needs a larger root disk")

    MACHINE_PART_SIZE = ("VT0601", "the machine part is too large to travel")
    SCRIPT_SIZE = ("VT0602", "the batch script is too large")
    DIRECTIVE_VALUE = ("VT0603", "a value cannot stand in a batch directive")
    XML_CHARACTER = ("VT0604", "a value cannot stand in XML")
    SEED_VALUE = ("VT0605", "a value cannot stand in a cloud-init seed")
    OUTPUT = ("VT0606", "the output directory cannot be written")
    NO_WORDS = ("VT0607", "the batch system has no words for what the job asks")
    NOT_SUBMITTED = ("VT0608", "the batch system's command for submitting cannot be started")

    SITE_FILE = ("VT0701", "a file of the site is not valid")
    POLICY_SCHEMA = ("VT0702", "the policy is not a valid JSON Schema")
    POLICY_DEFAULT = ("VT0703", "a default of the policy is not a value that a job could have")
    NO_SITE = ("VT0704", "the site directory cannot be used")
    POLICY_KEYWORD = ("VT0705", "the policy has a keyword that is not known")
    POLICY_FIELD = ("VT0706", "the policy names a member that a job does not have")
    DEFAULTS_DISAGREE = ("VT0707", "two branches of the policy that apply set different defaults")
    POLICY_CONTRADICTION = ("VT0708", "limits of the policy exclude each other")
    POLICY_VALUE = ("VT0709", "the policy names a value that the field never has")
    POLICY_KIND = ("VT0710", "a keyword of the policy says nothing about this kind of field")
    POLICY_NO_UNIT = ("VT0711", "a quantity in the policy has no unit", Severity.WARNING)
    POLICY_NO_EFFECT = ("VT0712", "a part of the policy has no effect", Severity.WARNING)
    POLICY_BY_ABSENCE = ("VT0713", "a condition holds for a job that does not say what it asks for", Severity.WARNING)
    POLICY_PLACEHOLDER = ("VT0714", "a message of the policy names something unknown")
    POLICY_CODE_TWICE = ("VT0715", "two rules of the policy have the same code", Severity.WARNING)
    POLICY_NEVER_TOLD = ("VT0716", "what the policy says of a rule is never told", Severity.WARNING)
    POLICY_IMAGE = ("VT0717", "the policy names an image that the catalogue lacks")
    POLICY_SITE_NAME = ("VT0718", "the policy names something that the site lacks")
    POLICY_USER_PART = ("VT0719", "root does not enforce a rule of the policy", Severity.WARNING)
    POLICY_PATTERN = ("VT0720", "a pattern of the policy can take time without bound", Severity.WARNING)
    POLICY_UNUSED = ("VT0721", "nothing refers to a schema of the policy", Severity.WARNING)
    POLICY_URL = ("VT0722", "the policy names an address that no browser opens")
    CPU_COUNT = ("VT0731", "the CPUs of a node class do not add up")
    CELLS_OVERLAP = ("VT0732", "two NUMA cells have the same CPU or id")
    CELL_MEMORY = ("VT0733", "the memory of a node class does not add up")
    DISTANCES = ("VT0734", "the distances of NUMA cells do not fit together")
    NODE_SET = ("VT0735", "a node set cannot be read")
    NODES_TWICE = ("VT0736", "a node is in two node classes")
    PROPERTY_TWICE = ("VT0737", "two node classes have the same property")
    HOOK_LIMIT = ("VT0738", "a hook's time limit is below the timeouts of what it waits for")
    SITE_TARGET = ("VT0739", "a mount of the site would hide a directory that the guest needs")
    MOUNTS_OVERLAP = ("VT0740", "two mounts of the site exclude each other", Severity.WARNING)
    READ_ONLY_UNDONE = ("VT0741", "what one mount offers read-only another lets jobs write", Severity.WARNING)
    IMAGE_TWICE = ("VT0742", "two images of the catalogue are the same disk", Severity.WARNING)
    NETWORKS_ALIKE = ("VT0743", "two networks of the site are alike", Severity.WARNING)
    UNREAD_FILE = ("VT0744", "nothing reads a file of the site's directory")
    SITE_OWNER = ("VT0745", "somebody else than root could change the site that root goes by")
    IMAGE_FILE = ("VT0746", "the disk of an image is not there")
    IMAGE_OWNER = ("VT0747", "somebody else than root could change the disk of an image")
    IMAGE_CHANGED = ("VT0748", "the disk of an image is not the one of the catalogue")
    NO_CASE = ("VT0750", "a file of policy.test is no case")
    CASE_CONTEXT = ("VT0751", "the context that a job file names is not understood")
    CORES = ("VT0760", "the cores and sockets of a node class do not fit together")
    DEVICE_PLACE = ("VT0761", "a device of a node class has no place")
    MACHINE = ("VT0762", "the description of a machine cannot be used")
    QUEUE_CLASS = ("VT0763", "a queue reaches a node class that is not there")
    DEFAULT_QUEUE = ("VT0764", "two queues are the default")
    IOCM_NIC = ("VT0765", "no node class has an adapter that I/O cores are to serve")
    SLOTS = ("VT0766", "the slots of a node class do not add up")
    PROPERTY_FORM = ("VT0767", "the batch system cannot carry the property of a node class")
    SKVM_LIMITS = ("VT0768", "no job with I/O cores compiles for a node class under sKVM", Severity.WARNING)
    TABLE_BOUNDS = ("VT0769", "a table of addresses leaves its subnet")
    TABLES_OVERLAP = ("VT0770", "two networks of the site have the same addresses")
    GATEWAY = ("VT0771", "the gateway of a network cannot be one")
    TABLE_NODES = ("VT0772", "a table of addresses has not the nodes of the site")
    FEW_ADDRESSES = ("VT0773", "a table has fewer addresses for a node than it has slots", Severity.WARNING)
    MOUNT_SOURCE = ("VT0774", "the source of a mount is not one of its type")
    MOUNT_OPTION = ("VT0775", "an option of a mount is not allowed")
    WRITABLE_9P = ("VT0776", "a mount by 9p can be written")
    GUEST_FILE = ("VT0777", "a file for guests cannot be used")
    NO_UPDATES = ("VT0778", "guests have no network to be updated over")

    ALLOW_MALFORMED = ("VT0801", "a comment that allows findings is not understood")
    ALLOW_EXPIRED = ("VT0802", "the time of a comment that allows findings is over")
    ALLOW_UNUSED = ("VT0803", "a comment allows a finding that is not there", Severity.WARNING)
    ALLOW_REFUSED = ("VT0804", "a finding may not be allowed by a comment")
    BASELINE = ("VT0805", "the baseline cannot be used")
    NOT_MENDED = ("VT0806", "a job file cannot be rewritten")

    USER_REFUSED = ("VT0901", "jobs do not run as this user")
    NO_LIBVIRT = ("VT0902", "libvirt does not answer")
    LIBVIRT_REFUSED = ("VT0903", "libvirt refused the guest")
    NEVER_READY = ("VT0904", "the guest did not get ready")
    HOST_LACKS = ("VT0905", "this machine lacks something")
    LANE_LACKS = ("VT0906", "an ordinary user's guest cannot have this")
    DEGRADED = ("VT0907", "the node cannot do it without a degradation that the job does not allow")
    WRONG_GUEST = ("VT0908", "the guest that answered is not the one that was started")
    WALLTIME = ("VT0909", "the walltime is over")
    HOOK_FAILED = ("VT0910", "a hook failed")
    LEFT_BEHIND = ("VT0911", "something of the job is still there after teardown")
    BUNDLE_REFUSED = ("VT0912", "the plan does not pass the runtime's own check")
    GUEST_LOST = ("VT0913", "the guest was lost while the job ran")
    NOT_SAFE = ("VT0914", "the runtime found no safe way to do its part")
    USER_PART = ("VT0915", "the job's environment or scripts cannot be handed to the guest")
    NODE_TAKEN = ("VT0916", "the node's other jobs were faster")
    NUMAD = ("VT0917", "numad gave no advice that helps")
    THREAD_PLACE = ("VT0920", "a guest's thread may run where it must not")
    IO_CORES_LIMITS = ("VT0921", "a job cannot have that many I/O cores at work")
    IO_MANAGER = ("VT0922", "sKVM's I/O manager cannot serve the job")
    IO_CORES_JOB = ("VT0923", "there is no job here whose I/O cores could be moved")
    KEPT_PLAN = ("VT0924", "what the runtime wrote down of a running job cannot be read")
    NODE_CLASS = ("VT0926", "the site does not say of which class the node is")
    CHILD_BROKE = ("VT0927", "the job could not be worked out")
    CHANGED_REFUSED = ("VT0928", "the job was compiled by other facts or rules, and the site refuses such jobs")
    CHANGED = ("VT0929", "the job was compiled by other facts or rules", Severity.WARNING)
    BATCH_SILENT = ("VT0930", "the batch system does not answer")
    BATCH_RECORD = ("VT0931", "the batch system's record of the job cannot be used")
    CLUSTER_KEY = ("VT0935", "the cluster key cannot be used")
    CANNOT_CAP = ("VT0937", "this node cannot hold a job to its share")
    CAP_REACHED = ("VT0938", "the guests came to the memory that the job holds on its node")
    NODE_BRIDGE = ("VT0940", "the node has not the site's bridge")
    NO_ADDRESS = ("VT0941", "a VM has no address or name of its own")

    SHARE = ("VT0942", "a directory of the node cannot be shared with guests")
    LEFTOVER = ("VT0943", "an earlier start of the job is still being undone on the node")
    DAMAGED = ("VT0944", "what the node wrote down of a job is damaged")
    NO_SUCH_JOB = ("VT0945", "no such job is on this node")
    HOOK_SETUP = ("VT0946", "the batch system's hooks on this node are not as they must be")
    NODE_DIFFERS = ("VT0947", "the node is not what the site says of its class")
    NODE_SETUP = ("VT0948", "the node is not set up as jobs need it")
    LIBVIRT_OPEN = ("VT0949", "every user of the node commands its libvirt")

    def __init__(self, id: str, title: str, severity: Severity = Severity.ERROR) -> None:  # noqa: A002 - the word for it
        self.id = id
        self.title = title
        self.severity = severity

    @classmethod
    def by_id(cls, id: str) -> "Code":  # noqa: A002 - as above
        """Return the code with that number; raises KeyError."""
        for code in cls:
            if code.id == id:
                return code
        raise KeyError(id)


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """Half-open region of a source file; lines and columns (in characters) count from 1."""

    file: str
    line: int
    column: int
    end_line: int
    end_column: int


@dataclass(frozen=True, slots=True)
class Note:
    """A remark that belongs to a finding, with a place of its own where it has one."""

    message: str
    span: Span | None = None


@dataclass(frozen=True, slots=True)
class Rule:
    """What a rule of the site's policy says of its findings. `code` is the site's own, such as HLRS012."""

    span: Span
    code: str | None = None
    severity: Severity = Severity.ERROR
    url: str | None = None
    allow_suppress: bool | None = None


@dataclass(frozen=True, slots=True)
class Fix:
    """The one safe way to mend a finding: exactly the text at `span` becomes `text`."""

    span: Span
    text: str


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One finding. `message` never says how to mend it; only `help` does. `detail` is evidence to show below.

    A finding of the site's policy names the `rule`, which may give it a code and a severity of its own.
    """

    code: Code
    message: str
    span: Span | None = None
    notes: tuple[Note, ...] = ()
    help: str | None = None
    detail: str | None = None
    rule: Rule | None = None
    fix: Fix | None = None

    @property
    def id(self) -> str:
        """The code that people see: the site's own where its rule has one."""
        return self.rule.code if self.rule and self.rule.code else self.code.id

    @property
    def severity(self) -> Severity:
        """The rule's severity, else the code's."""
        return self.rule.severity if self.rule else self.code.severity

    @property
    def may_be_suppressed(self) -> bool:
        """Whether a comment in the job file may hide it from a report: warnings, and what the rule says itself."""
        said = self.rule.allow_suppress if self.rule else None
        return self.severity is Severity.WARNING if said is None else said


@dataclass(slots=True)
class Report:
    """Collects the findings of a run; every stage adds to it, and the driver stops between stages only."""

    items: list[Diagnostic] = field(default_factory=list)

    def add(
        self,
        code: Code,
        message: str,
        span: Span | None = None,
        *,
        notes: Iterable[Note] = (),
        help: str | None = None,  # noqa: A002 - as in Diagnostic
        rule: Rule | None = None,
        fix: Fix | None = None,
    ) -> None:
        """Add one finding."""
        self.items.append(Diagnostic(code, message, span, tuple(notes), help, None, rule, fix))

    @property
    def failed(self) -> bool:
        """Whether there is an error among the findings."""
        return any(item.severity is Severity.ERROR for item in self.items)

    def sorted(self) -> list[Diagnostic]:
        """Return the findings in the order of the files' text; those without a place come last."""
        last = Span("\U0010ffff", 0, 0, 0, 0)
        return sorted(self.items, key=lambda item: (item.span or last, item.id, item.message))


def near_miss(word: str, known: Iterable[str]) -> str | None:
    """Return the one of `known` that `word` most probably was meant to be."""
    spelled = {name.lower(): name for name in sorted(known)}
    from difflib import get_close_matches  # a file without errors does not pay for it

    matches = get_close_matches(word.lower(), spelled, n=1, cutoff=0.6)
    return spelled[matches[0]] if matches else None
