"""Programs that mean harm, for sandbox.py here and a few of the suite's tests: {name: source}.

One that gets what it is after prints ESCAPED, or what it has read. `{port}`, `{pid}` and `{secret_file}` are a listener,
the process that runs the programs and a file of its user; `FORGERIES` claim a verdict.
"""

from __future__ import annotations

import textwrap

ESCAPED = "ESC" + "APED"  # never as one word in a program, which may print its own source


def _tried(code: str, why: str = "") -> str:
    """Code that says so if it goes through."""
    body = textwrap.indent(textwrap.dedent(code).strip(), "    ")
    return f"import os, sys, time\ntry:\n{body}\n    print('ESC' + 'APED', {why!r}, flush=True)\nexcept Exception as e:\n    print(type(e).__name__)\n"


def _call(number: int, *arguments: object) -> str:
    given = ", ".join([f"ctypes.c_long({number})", *(f"ctypes.c_long({a})" for a in arguments)])
    return _tried(
        f"import ctypes\nlibc = ctypes.CDLL(None, use_errno=True)\nif libc.syscall({given}) < 0: raise OSError(ctypes.get_errno())"
    )


PROCESSES = {
    "fork bomb": "import os\nwhile True:\n    try:\n        os.fork()\n    except OSError:\n        pass\n",
    "fork": _tried("if os.fork() == 0: os._exit(0)"),
    "forkpty": _tried("import pty\nif pty.fork()[0] == 0: os._exit(0)"),
    "system": _tried("if os.system('true') != 0: raise OSError"),
    "popen": _tried("os.popen('true').read()\nimport subprocess\nsubprocess.run(['true'], check=True)"),
    "spawn": _tried("os.posix_spawn('/usr/bin/true', ['true'], {})"),
    "subprocess": _tried("import subprocess\nsubprocess.run(['/usr/bin/true'], check=True)"),
    "multiprocessing": _tried(
        "import multiprocessing as m\np = m.get_context('fork').Process(target=print)\np.start()"
    ),
    "pool": _tried(
        "from concurrent.futures import ProcessPoolExecutor as P\nprint(list(P().map(abs, [1])))"
    ),
    "fork by number": _call(57),
    "vfork by number": _call(58),
    "clone without flags": _call(56, 17, 0, 0, 0, 0),
    "clone of a user namespace": _call(56, 0x10000000 | 17, 0, 0, 0, 0),
    "clone of a pid namespace": _call(56, 0x20000000 | 17, 0, 0, 0, 0),
    "clone3": _tried(
        "import ctypes\nlibc = ctypes.CDLL(None)\nb = ctypes.create_string_buffer(88)\n"
        "r = libc.syscall(ctypes.c_long(435), b, ctypes.c_long(88))\nif r < 0: raise OSError\nif r == 0: os._exit(0)"
    ),
    "a daemon": _tried("import signal\nif os.fork() == 0:\n    os.setsid()\n    time.sleep(60)"),
    "another program": "import os\nos.execv('/usr/bin/sleep', ['sleep', '60'])\n",
    "a shell": "import os\nos.execv('/bin/sh', ['sh', '-c', 'while :; do :; done'])\n",
    "a shell that forks": "import os\nos.execv('/bin/sh', ['sh', '-c', ':(){ :|:& };:; cat /etc/shadow & wait'])\n",
    "python again, without limits": (
        "import os, sys\nos.execv(sys.executable, ['python', '-c', "
        '\'import resource as r; r.setrlimit(r.RLIMIT_AS, (-1, -1)); x = bytearray(1 << 33); print("ESC" + "APED")\'])\n'
    ),
}

MEMORY = {
    f"memory: {name}": code
    for name, code in {
        "a list": "x = [0] * 10**10\nprint('ESC' + 'APED')",
        "a list that grows": "x = []\nwhile True: x.append('y' * 10**6)",
        "bytes": "x = bytearray(1 << 33)\nprint('ESC' + 'APED')",
        "text": "x = 'a' * (1 << 33)\nprint('ESC' + 'APED')",
        "text that doubles": "x = 'a'\nwhile True: x += x",
        "a dictionary": "x = {}\ni = 0\nwhile True:\n    x[i] = i\n    i += 1",
        "lists in lists": "x = []\nwhile True: x = [x] * 1000",
        "a map": "import mmap\nx = mmap.mmap(-1, 1 << 33)\nx[::4096] = b'a' * (1 << 21)\nprint('ESC' + 'APED')",
        "many maps": "import mmap\nx = []\nwhile True:\n    m = mmap.mmap(-1, 1 << 24)\n    m.write(b'a' * (1 << 24))\n    x.append(m)",
        "a private map": "import mmap\nx = []\nwhile True:\n    m = mmap.mmap(-1, 1 << 26, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)\n    m.write(b'a' * (1 << 26))\n    x.append(m)",
        "malloc": "import ctypes\nl = ctypes.CDLL(None)\nl.malloc.restype = ctypes.c_void_p\nwhile True:\n    p = l.malloc(ctypes.c_size_t(1 << 26))\n    if not p: break\n    ctypes.memset(p, 1, 1 << 26)",
        "a file in memory": "import os\nf = os.memfd_create('x')\nwhile True: os.write(f, b'a' * (1 << 20))",
        "shared": "from multiprocessing import shared_memory as s\nx = s.SharedMemory(create=True, size=1 << 33)\nprint('ESC' + 'APED')",
        "System V's": "import ctypes\nl = ctypes.CDLL(None)\nl.shmat.restype = ctypes.c_void_p\nwhile True:\n    i = l.shmget(0, ctypes.c_size_t(1 << 26), 0o1600)\n    if i < 0: break\n    a = l.shmat(i, None, 0)\n    ctypes.memset(a, 1, 1 << 26)\n    l.shmdt(ctypes.c_void_p(a))\n    print('ESC' + 'APED')",
        "message queues": "import ctypes\nl = ctypes.CDLL(None)\nprint('none' if l.msgget(0, 0o1600) < 0 else 'ESC' + 'APED')",
        "semaphores": "import ctypes\nl = ctypes.CDLL(None)\nprint('none' if l.semget(0, 32, 0o1600) < 0 else 'ESC' + 'APED')",
        "pipes": "import os\nx = []\nwhile True:\n    r, w = os.pipe()\n    os.set_blocking(w, False)\n    try:\n        while True: os.write(w, b'a' * 65536)\n    except BlockingIOError: pass",
        "pairs of sockets": "import os\ntry:\n    import socket\n    x = []\n    while True:\n        a, b = socket.socketpair()\n        a.setblocking(False)\n        x.append((a, b))\n        try:\n            while True: a.send(b'a' * 65536)\n        except BlockingIOError: pass\nexcept OSError as e: print(e)",
        "locked": "import ctypes\nl = ctypes.CDLL(None)\nx = ctypes.create_string_buffer(1 << 28)\nprint('none' if l.mlock(x, 1 << 28) else 'ESC' + 'APED')",
        "a traceback": "def f(x): return f(x + ['a' * 10**6])\nf([])",
        "a product": "import itertools\nx = list(itertools.product(range(100), repeat=6))",
        "a format": "x = '%*d' % (2**33, 1)\nprint('ESC' + 'APED')",
        "unzipped": "import zlib\nx = zlib.compress(b'a' * 10**8)\ny = [zlib.decompress(x) for _ in range(1000)]\nprint('ESC' + 'APED')",
        "an array": "import array\nx = array.array('q', [0]) * (1 << 31)\nprint('ESC' + 'APED')",
    }.items()
}

LOOPS = {
    f"endless: {name}": code
    for name, code in {
        "while": "while True: pass",
        "while, in C": "sum(1 for _ in iter(int, 1))",
        "sleep": "import time\ntime.sleep(10**6)",
        "pause": "import signal\nsignal.pause()",
        "event": "import threading\nthreading.Event().wait()",
        "deadlock": "import threading\nl = threading.Lock()\nl.acquire()\nl.acquire()",
        "select": "import select\nselect.select([], [], [])",
        "its own pipe": "import os\nr, w = os.pipe()\nos.read(r, 1)",
        "a regular expression": "import re\nre.match(r'(a+)+$', 'a' * 40 + 'b')",
        "a range": "max(range(10**13))",
        "a power": "x = 9 ** 9 ** 9",
        "a power of ten": "print(len(str(10 ** 10 ** 8)))",
        "a factorial": "import math\nmath.factorial(10**8)",
        "digits": "import sys\nsys.set_int_max_str_digits(0)\nint('9' * 10**7)",
        "a shift": "x = 1 << (1 << 40)",
        "signals ignored": "import signal\nfor s in range(1, 65):\n    try: signal.signal(s, signal.SIG_IGN)\n    except (OSError, ValueError): pass\nwhile True: pass",
        "signals blocked": "import signal, time\nsignal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))\ntime.sleep(10**6)",
        "the processor's limit caught": "import signal\nsignal.signal(signal.SIGXCPU, lambda *a: None)\nwhile True: pass",
        "an except that catches all": "while True:\n    try:\n        while True: pass\n    except BaseException: pass",
        "a finalizer": "class A:\n    def __del__(self):\n        while True: pass\nA()",
        "at the end": "import atexit, time\natexit.register(time.sleep, 10**6)",
        "a thread that stays": "import threading\ndef f():\n    while True: pass\nthreading.Thread(target=f).start()",
        "threads": "import threading, time\nn = 0\nwhile True:\n    try:\n        threading.Thread(target=time.sleep, args=(10**6,)).start()\n        n += 1\n    except RuntimeError: time.sleep(0.01)",
        "threads with small stacks": "import threading, time\nthreading.stack_size(32768)\nn = 0\ntry:\n    while n < 5000:\n        threading.Thread(target=time.sleep, args=(100,), daemon=True).start()\n        n += 1\n    print('ESC' + 'APED')\nexcept RuntimeError: print(n)",
        "an iterator": "class A:\n    def __iter__(self): return self\n    def __next__(self): return 1\nlist(A())",
        "a sort": "class A:\n    def __lt__(self, o):\n        while True: pass\nsorted([A(), A()])",
        "timers": "import signal, time\nsignal.setitimer(signal.ITIMER_REAL, 1e-6, 1e-6)\nsignal.signal(signal.SIGALRM, lambda *a: None)\nwhile True: time.sleep(1)",
    }.items()
}

_PLACES = (
    "/tmp/x", "/x", "./x", "/dev/shm/x", "/dev/x", "/usr/x", "/usr/bin/env", "/etc/passwd", "/etc/x", "/root/x", "/home/x",
    "/var/tmp/x", "/program", "/inside.py", "/lib/x", "/bin/x", "~/x", "{secret_file}",
)  # fmt: skip
FILES = {
    f"writes {place}": _tried(f"open(os.path.expanduser({place!r}), 'w').write('x')") for place in _PLACES
}
FILES |= {
    "makes a folder": _tried("os.mkdir('/tmp/y')"),
    "makes a symbolic link": _tried(
        "os.symlink('{secret_file}', '/tmp/link')\nprint(open('/tmp/link').read())"
    ),
    "makes a hard link": _tried("os.link('/usr/bin/env', '/tmp/env')"),
    "makes a pipe with a name": _tried("os.mkfifo('/tmp/pipe')"),
    "makes a device": _tried(
        "os.mknod('/tmp/disk', 0o60666, os.makedev(254, 0))\nprint(open('/tmp/disk', 'rb').read(10))"
    ),
    "makes a temporary file": _tried("import tempfile\ntempfile.TemporaryFile()"),
    "makes a file without a name": _tried("os.open('/tmp', os.O_TMPFILE | os.O_RDWR)"),
    "makes a million files": _tried("for i in range(10**6): open(f'/tmp/{i}', 'w')"),
    "opens a million files": _tried("x = [open('/dev/null') for _ in range(10**6)]"),
    "deletes the system": _tried("import shutil\nshutil.rmtree('/usr')"),
    "renames the system": _tried("os.rename('/usr/bin', '/usr/bin2')"),
    "changes its own limits' file": _tried(
        "os.chmod('/inside.py', 0o777)\nopen('/inside.py', 'a').write('x')"
    ),
    "makes all writable": _tried("os.chmod('/', 0o777)"),
    "mounts": _call(165, 0, 0, 0, 0, 0),
    "mounts memory": _tried(
        "import ctypes\nif ctypes.CDLL(None).mount(b'x', b'/tmp', b'tmpfs', 0, None): raise OSError"
    ),
    "unmounts": _tried("import ctypes\nif ctypes.CDLL(None).umount2(b'/dev/null', 2): raise OSError"),
    "leaves its root": _tried(
        "os.chroot('/tmp')\nfor _ in range(50): os.chdir('..')\nprint(os.listdir('.'))"
    ),
    "pivots its root": _call(155, 0, 0),
    "writes to the disk": _tried("open('/dev/vda', 'r+b').write(b'x')"),
    "writes to standard input": _tried("os.write(os.open('/dev/fd/0', os.O_RDWR), b'x')"),
}

READS = {
    f"reads {place}": f"import os\nprint(open(os.path.expanduser({place!r}), 'rb').read(10**5))\nprint('ESC' + 'APED')\n"
    for place in (
        "/etc/passwd", "/etc/shadow", "/root/.bashrc", "~/.ssh/id_rsa", "~/.netrc", "/proc/1/environ", "/proc/self/environ",
        "/proc/{pid}/environ", "/proc/self/mem", "/proc/kcore", "/proc/1/root/etc/passwd", "/sys/kernel/notes", "/dev/mem",
        "/dev/kmsg", "/dev/vda", "/var/run/docker.sock", "/etc/hostname", "/var/log/dpkg.log", "{secret_file}",
        "/dev/../{secret_file}", "/tmp/../../{secret_file}",
    )
}  # fmt: skip
READS |= {
    "looks for a secret everywhere": "import os\nfor a, b, c in os.walk('/'):\n    for n in c:\n        if 'canary' in n: print(open(os.path.join(a, n)).read())\n",
    "prints its environment": "import os\nprint(dict(os.environ), os.environb)\n",
    "looks for its environment in memory": "import ctypes\ne = ctypes.POINTER(ctypes.c_char_p).in_dll(ctypes.CDLL(None), 'environ')\ni = 0\nwhile e[i]:\n    print(e[i])\n    i += 1\n",
    "looks at who else is here": "import os\nfound = []\nfor p in range(1, 100000):\n    try:\n        os.kill(p, 0)\n        found.append(p)\n    except ProcessLookupError: pass\n    except PermissionError: found.append(p)\nprint('ESC' + 'APED' if len(found) > 3 else found)\n",
    "opens by handle": _call(304, -100, 0, 0),
    "reads others' memory": _call(310, "{pid}", 0, 0, 0, 0, 0),
    "traces": _call(101, 16, "{pid}", 0, 0),
    "takes another's file": _call(438, 1, 0, 0),
    "looks through files left open": "import os\nfor fd in range(3, 1024):\n    try:\n        os.lseek(fd, 0, 0)\n    except OSError: pass\n    try: print(fd, os.read(fd, 10**5))\n    except OSError: pass\n",
}

_SOCKETS = {
    "TCP": "s = socket.socket()\ns.settimeout(1)\ns.connect(('127.0.0.1', {port}))",
    "TCP, version 6": "s = socket.socket(socket.AF_INET6)\ns.connect(('::1', {port}))",
    "UDP": "s = socket.socket(type=socket.SOCK_DGRAM)\ns.sendto(b'x', ('127.0.0.1', {port}))",
    "Unix": "s = socket.socket(socket.AF_UNIX)\ns.connect('\\0canary{port}')",
    "raw": "s = socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)",
    "packets": "s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)",
    "netlink": "s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)",
    "the virtual machine's host": "s = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)\ns.connect((2, 22))",
    "the kernel's ciphers": "s = socket.socket(socket.AF_ALG, socket.SOCK_SEQPACKET)",
    "Bluetooth": "s = socket.socket(31, socket.SOCK_RAW)",
    "a server": "s = socket.socket()\ns.bind(('127.0.0.1', 0))\ns.listen()",
    "a name": "print(socket.getaddrinfo('example.com', 80))",
    "a page": "import urllib.request\nprint(urllib.request.urlopen('http://127.0.0.1:{port}', timeout=1).read())",
    "mail": "import smtplib\nsmtplib.SMTP('127.0.0.1', {port}, timeout=1)",
    "asyncio": "import asyncio\nasyncio.run(asyncio.open_connection('127.0.0.1', {port}))",
}
SOCKETS = {f"socket: {name}": _tried(f"import socket\n{code}") for name, code in _SOCKETS.items()}
SOCKETS |= {"socket by number": _call(41, 2, 1, 0), "a ring of requests": _call(425, 8, 0)}

SIGNALS = {
    f"kills {who}": f"import os, signal, time\nfor s in (signal.SIGUSR1, signal.SIGTERM, signal.SIGKILL):\n    try: {what}\n    except OSError as e: print(e)\n"
    for who, what in {
        "its parent": "os.kill(os.getppid(), s)",
        "all": "os.kill(-1, s)",
        "the first": "os.kill(1, s)",
        "its group": "os.killpg(0, s)",
        "the trainer": "os.kill({pid}, s)",
        "the trainer's group": "os.killpg({pid}, s)",
        "many": "[os.kill(p, s) for p in range(3, 30000) if p != os.getpid()]",
        "by a queue": "signal.pidfd_send_signal(os.pidfd_open({pid}), s)",
    }.items()
}
SIGNALS |= {
    "types into the terminal": "import fcntl, termios\nfor fd in (0, 1, 2):\n    try:\n        fcntl.ioctl(fd, termios.TIOCSTI, b'x')\n        print('ESC' + 'APED')\n    except OSError: pass\ntry:\n    open('/dev/tty', 'w').write('x')\n    print('ESC' + 'APED')\nexcept OSError: pass\n",
    "outlives the parent": "import ctypes, time\nctypes.CDLL(None).prctl(1, 0)\ntime.sleep(100)\n",
    "stops itself": "import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)\n",
}

OUTPUT = {
    f"output: {name}": code
    for name, code in {
        "a gigabyte": "for _ in range(1000): print('y' * 10**6)",
        "for ever": "while True: print('y')",
        "bytes for ever": "import os\nwhile True: os.write(1, b'\\xff' * 65536)",
        "errors for ever": "import sys\nwhile True: sys.stderr.write('y' * 65536)",
        "one line": "print('y' * (100 << 20))",
        "slowly": "import time\nwhile True:\n    print('y', flush=True)\n    time.sleep(0.01)",
        "closed": "import os, time\nos.close(1)\nos.close(2)\ntime.sleep(100)",
        "all closed": "import os, time\nos.closerange(0, 1024)\ntime.sleep(100)",
        "moved": "import os\nr, w = os.pipe()\nos.dup2(w, 1)\nwhile True: os.write(1, b'y' * 1000)",
        "not to be read": "import os\nos.write(1, bytes(range(256)) * 100)",
        "for a terminal": "print('\\x1b]0;x\\x07\\x1b[2J\\x1b[31m' * 1000)",
        "halves of characters": "print('\\ud800'.encode('utf-8', 'surrogatepass'))\nimport sys\nsys.stdout.buffer.write(b'\\xed\\xa0\\x80')",
        "the last moment": "import atexit, os\natexit.register(lambda: os.write(1, b'y' * (1 << 22)))",
    }.items()
}

DEPTH = {
    f"deep: {name}": code
    for name, code in {
        "recursion": "def f(): f()\nf()",
        "recursion without a limit": "import sys\nsys.setrecursionlimit(10**9)\ndef f(): f()\nf()",
        "recursion in C": "import sys\nsys.setrecursionlimit(10**9)\nx = []\nfor _ in range(10**6): x = [x]\nrepr(x)",
        "brackets": "compile('(' * 10**5 + ')' * 10**5, 'x', 'eval')",
        "signs": "compile('-' * 10**6 + '1', 'x', 'eval')",
        "a sum": "compile('+'.join(['1'] * 10**6), 'x', 'eval')",
        "JSON": "import json\njson.loads('[' * 10**6)",
        "a null pointer": "import ctypes\nctypes.string_at(0)",
        "an abort": "import os\nos.abort()",
        "a frame": "import sys\nf = sys._getframe()\nwhile f:\n    print(f.f_locals.keys())\n    f = f.f_back",
        "code of its own": "exec((lambda: 0).__code__.replace(co_code=bytes([255] * 100), co_stacksize=0))",
        "the collector": "import gc\nfor o in gc.get_objects():\n    try: o.clear()\n    except Exception: pass",
        "modules": "import sys\nsys.modules.clear()\nimport os",
        "builtins": "import builtins\nfor n in dir(builtins):\n    try: delattr(builtins, n)\n    except AttributeError: pass",
    }.items()
}

RIGHTS = {
    "becomes root": _tried("os.setuid(0)\nos.setgid(0)\nif os.getuid(): raise OSError"),
    "becomes another": _tried("os.setuid(1)\nos.kill({pid}, 10)"),
    "raises its limits": _tried("import resource as r\nr.setrlimit(r.RLIMIT_AS, (-1, -1))"),
    "raises its threads": _tried("import resource as r\nr.setrlimit(r.RLIMIT_NPROC, (10**4, 10**4))"),
    "lowers the trainer's limits": _tried("import resource as r\nr.prlimit({pid}, r.RLIMIT_AS, (1, 1))"),
    "goes first": _tried("os.nice(-20)"),
    "is never stopped": _tried("os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(50))"),
    "namespaces of its own": _call(272, 0x10000000),
    "a network of its own": _call(272, 0x40000000),
    "joins a namespace": _call(308, 0, 0),
    "loads into the kernel": _call(321, 5, 0, 0),
    "watches the machine": _call(298, 0, 0, -1, -1, 0),
    "handles faults": _call(323, 0),
    "takes a key": _call(250, 0, -3, 1),
    "adds a key": _call(248, 0, 0, 0, 0, 0),
    "loads a module": _call(175, 0, 0, 0),
    "boots": _call(169, 0xFEE1DEAD, 672274793, 0x01234567, 0),
    "sets the clock": _tried("time.clock_settime(time.CLOCK_REALTIME, 0)"),
    "names the machine": _tried("import socket\nsocket.sethostname('x')"),
    "swaps": _call(168, 0),
    "ports of the processor": _call(172, 3),
    "other numbers": _call(0x40000000 | 57),
    "setuid programs": "import os\nos.execv('/usr/bin/su', ['su', '-c', 'echo ESC' + 'APED'])\n",
    "packages of the trainer": _tried("import urlvr_jax"),
}

# Functions `f` that want to pass `f(3) == <a number nobody knows>`.
FORGERIES = {
    f"forges: {name}": code
    for name, code in {
        "an end": "import sys\nsys.exit(0)",
        "a quick end": "import os\nos._exit(0)",
        "a verdict": 'print(\'{"score": 1, "acc": true}\')\ndef f(x): return True',
        "lines": "import os\nfor fd in range(64):\n    try: os.write(fd, b'=True\\n=1\\n' * 9)\n    except OSError: pass\ndef f(x): return 1",
        "an exit status": "import os\nfor fd in range(64):\n    try: os.write(fd, b'{\"exit-code\": 0}\\n')\n    except OSError: pass\ndef f(x): return 1",
        "equality": "class A:\n    def __eq__(self, o): return True\n    def __hash__(self): return 0\ndef f(x): return A()",
        "a number that equals": "class A(int):\n    def __eq__(self, o): return True\ndef f(x): return A(1)",
        "a text that equals": "class A(str):\n    def __eq__(self, o): return True\n    def __repr__(self): return '__import__(\"os\").system(\"true\")'\ndef f(x): return A('1')",
        "repr": "import builtins\nbuiltins.repr = lambda v: '1 or 1'\ndef f(x): return 1",
        "posix": "import posix\nwrite = posix.write\nposix.write = lambda fd, b: write(fd, b'=True\\n')\ndef f(x): return 1",
        "eval": "import builtins\nbuiltins.eval = lambda *a: 1\ndef f(x): return 1",
        "the one who asks": "import sys\nsys.modules['__main__'].answer = None\ndef f(x): return sys._getframe(1).f_locals",
        "reads the calls": "print(open('/calls').read())\ndef f(x): return open('/calls').read()",
        "looks for what is expected": "import gc\ndef f(x): return [o for o in gc.get_objects() if isinstance(o, int)][:1]",
        "code for the trainer": "def f(x):\n    class A:\n        def __repr__(self): return '__import__(\"os\").kill({pid}, 10)'\n    return A()",
        "a deep value": "class A:\n    def __repr__(self): return '(' * 30000 + ')' * 30000\ndef f(x): return A()",
        "a large number": "class A:\n    def __repr__(self): return '9' * 60000\ndef f(x): return A()",
        "signs": "class A:\n    def __repr__(self): return '-' * 60000 + '1'\ndef f(x): return A()",
        "a set of lists": "class A:\n    def __repr__(self): return '{[]}'\ndef f(x): return A()",
        "nothing": "def f(x): return None",
        "no function": "g = 1",
        "an error": "raise MemoryError",
        "no Python": "def f(x",
        "a null byte": "def f(x): return '\\x00'\n\x00",
    }.items()
}

FAMILIES = {
    "processes": PROCESSES, "memory": MEMORY, "loops": LOOPS, "files": FILES, "reads": READS, "sockets": SOCKETS,
    "signals": SIGNALS, "output": OUTPUT, "depth": DEPTH, "rights": RIGHTS, "forgeries": FORGERIES,
}  # fmt: skip


def filled(source: str, **values) -> str:
    """The source with its places filled in; braces of Python stay."""
    for name, value in values.items():
        source = source.replace("{" + name + "}", str(value))
    return source
