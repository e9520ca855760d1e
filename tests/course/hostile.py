"""Hostile answers: what a student could hand in instead of ``double``, which returns 2 x.

Each is the text of the answer cell, and the verdicts that may come of it.  None of them
is ever "pass".  ``CAMPUS`` in a text stands for the course folder's path.
"""

from typing import NamedTuple


class Attack(NamedTuple):
    name: str
    code: str
    verdicts: tuple[str, ...] = ("fail",)
    everywhere: bool = True  # Held also where there is no bubblewrap.


WRONG = "\ndef double(x):\n    return x\n"
FAIL_OR_DIE = ("fail", "died", "tampered", "timeout", "out of memory", "missing")

ATTACKS = [
    # --- the table of what stock nbgrader falls for ---
    Attack("endless", "def double(x):\n    while True: pass", ("timeout",)),
    Attack(
        "endless, deaf to signals",
        "import signal\nfor s in range(1, 30):\n    try: signal.signal(s, signal.SIG_IGN)\n"
        "    except Exception: pass\ndef double(x):\n    while True:\n        try:\n"
        "            while True: pass\n        except BaseException: pass",
        ("timeout", "died"),
    ),
    Attack("endless while it is defined", "while True: pass", ("timeout",)),
    Attack("os._exit(0)", "import os\ndef double(x): os._exit(0)", ("died",)),
    Attack("os._exit(0) at once", "import os\nos._exit(0)", ("died",)),
    Attack(
        "numpy.testing, allclose and array_equal that always agree",
        "import numpy as np\nfor m in (np, np.testing):\n    for n in dir(m):\n"
        "        if 'equal' in n or 'close' in n or 'assert' in n:\n"
        "            setattr(m, n, lambda *a, **k: True)" + WRONG,
    ),
    Attack(
        "a syntax-tree transformer that drops asserts",
        "import ast, builtins\nclass T(ast.NodeTransformer):\n    def visit_Assert(s, n): return None\n"
        "try:\n    get_ipython().ast_transformers.append(T())\nexcept NameError: pass\n"
        "old = compile\ndef fake(source, *a, **k):\n"
        "    return old(T().visit(ast.parse(source)) if isinstance(source, str) else source, *a, **k)\n"
        "builtins.compile = fake" + WRONG,
    ),
    Attack(
        "an input transformer that blanks test cells",
        "try:\n    get_ipython().input_transformers_cleanup.append(lambda lines: [])\n"
        "except NameError: pass\nimport builtins\nbuiltins.exec = lambda *a, **k: None" + WRONG,
    ),
    Attack(
        "a faked execution result",
        "import sys\nfor f in (sys.modules.get('workbench.course.worker'), sys.modules['__main__']):\n"
        "    for n in list(vars(f or object)):\n"
        "        if n in ('Server', 'serve'): vars(f)[n] = lambda *a, **k: None" + WRONG,
    ),
    Attack(
        "a display formatter that forges partial credit",
        "import sys\nsys.displayhook = lambda v: print(5)\ndef double(x):\n    print(5)\n    return 5",
    ),
    Attack(
        "a hook that looks for the checks",
        "import sys, gc, inspect\ndef double(x):\n"
        "    seen = [repr(f.f_locals)[:3000] + repr(list(f.f_globals))[:3000] for f in [i.frame for i in inspect.stack()]]\n"
        "    seen += [o for o in gc.get_objects() if isinstance(o, str) and 'HIDDEN' in o]\n"
        "    raise RuntimeError(' '.join(map(str, seen)))",
    ),
    Attack(
        "reads the solution and runs it",
        "import glob, json\nfound = None\n"
        "for root in ('../../..', 'CAMPUS', '/proc/1/root/CAMPUS', '/proc/1/cwd', '/proc/self/cwd/../..'):\n"
        "    for p in glob.glob(root + '/solutions/*/*.ipynb') + glob.glob(root + '/**/pair.ipynb', recursive=True):\n"
        "        for c in json.load(open(p))['cells']:\n"
        "            if 'BEGIN SOLUTION' in ''.join(c['source']): exec(''.join(c['source']))\n"
        "if 'double' not in globals():\n    def double(x): return x",
        verdicts=("fail", "timeout"),
        everywhere=False,
    ),
    Attack(
        "writes to the gradebook",
        "import sqlite3\nfor p in ('../../gradebook.db', 'CAMPUS/gradebook.db'):\n    try:\n"
        "        d = sqlite3.connect(p); d.execute('update grade set manual_score = 600'); d.commit()\n"
        "    except Exception: pass" + WRONG,
        everywhere=False,
    ),
    Attack(
        "a detached child",
        "import os, time\nif os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n"
        "        while True: time.sleep(1)\n    os._exit(0)" + WRONG,
    ),
    # --- the channel ---
    Attack(
        "forged replies on every descriptor",
        "import os, struct, json\nr = json.dumps({'dict': [['value', 2]]}).encode()\n"
        "def double(x):\n    for fd in range(3, 30):\n        try: os.write(fd, struct.pack('<II', len(r), 0) + r)\n"
        "        except OSError: pass\n    return x",
        FAIL_OR_DIE,
    ),
    Attack(
        "noise on every descriptor",
        "import os\ndef double(x):\n    for fd in range(3, 30):\n        try: os.write(fd, b'\\xff' * 10000)\n"
        "        except OSError: pass\n    return x",
        ("tampered", "died", "timeout"),
    ),
    Attack(
        "half a message, then silence",
        "import os, time\ndef double(x):\n    for fd in range(3, 30):\n        try: os.write(fd, b'\\x10\\x00')\n"
        "        except OSError: pass\n    time.sleep(60)",
        ("timeout",),
    ),
    Attack(
        "a pickle inside the message",
        "import numpy as np, os\nclass P:\n    def __reduce__(self): return (os.system, ('touch CAMPUS/pickled',))\n"
        "def double(x): return np.array([P()], dtype=object)",
    ),
    Attack(
        "a shape that its bytes do not fill",
        "from workbench.course import channel\nimport struct, json, gc\ndef double(x):\n"
        "    c = [o for o in gc.get_objects() if isinstance(o, channel.Channel)][0]\n"
        "    t = json.dumps({'dict': [['value', {'array': ['<f8', [10**12], 'C', 0]}]]}).encode()\n"
        "    c.connection.sendall(struct.pack('<II', len(t), 1) + t + struct.pack('<I', 8) + b'0' * 8)\n"
        "    import time; time.sleep(1); return x",
        ("tampered",),
    ),
    Attack(
        "a message as long as four thousand million bytes",
        "from workbench.course import channel\nimport struct, gc\ndef double(x):\n"
        "    c = [o for o in gc.get_objects() if isinstance(o, channel.Channel)][0]\n"
        "    c.connection.sendall(struct.pack('<II', 2**32 - 1, 2**32 - 1)); return x",
        ("tampered",),
    ),
    Attack(
        "JSON nested a hundred thousand deep",
        "from workbench.course import channel\nimport struct, gc\ndef double(x):\n"
        "    c = [o for o in gc.get_objects() if isinstance(o, channel.Channel)][0]\n"
        "    t = b'[' * 100000 + b']' * 100000\n"
        "    c.connection.sendall(struct.pack('<II', len(t), 0) + t); return x",
        ("tampered",),
    ),
    Attack(
        "a number of a million digits",
        "from workbench.course import channel\nimport struct, gc\ndef double(x):\n"
        "    c = [o for o in gc.get_objects() if isinstance(o, channel.Channel)][0]\n"
        "    t = b'{\"dict\": [[\"value\", ' + b'9' * 1000000 + b']]}'\n"
        "    c.connection.sendall(struct.pack('<II', len(t), 0) + t); return x",
        ("tampered",),
    ),
    Attack(
        "calls a function of the check's that there is not",
        "from workbench.course import channel\nimport gc\ndef double(x):\n"
        "    c = [o for o in gc.get_objects() if isinstance(o, channel.Channel)][0]\n"
        "    c.send({'call': 7, 'arguments': (), 'options': {}}); return c.receive()",
        ("tampered", "fail"),
    ),
    Attack(
        "says that the check passed",
        "from workbench.course import channel\nimport gc\ndef double(x):\n"
        "    c = [o for o in gc.get_objects() if isinstance(o, channel.Channel)][0]\n"
        "    c.send({'verdict': 'pass', 'points': 2, 'value': True}); return x",
        FAIL_OR_DIE,
    ),
    Attack("lists in lists without end", "def double(x):\n    a = []\n    for _ in range(10**5): a = [a]\n    return a"),
    Attack("a list that holds itself", "def double(x):\n    a = []\n    a.append(a)\n    return a"),
    Attack("a reply of a gigabyte", "import numpy as np\ndef double(x): return np.ones(2**27)", FAIL_OR_DIE),
    # --- values that lie ---
    Attack(
        "an array that says it is equal to everything",
        "import numpy as np\nclass A(np.ndarray):\n    def __eq__(s, o): return True\n"
        "    def __array_ufunc__(s, *a, **k): return True\n    def __sub__(s, o): return 0 * np.asarray(o)\n"
        "def double(x): return np.asarray(x).view(A)",
    ),
    Attack("an object that says it is an array",
           "import numpy as np\nclass A:\n    __class__ = np.ndarray\n    shape = (3,)\n    dtype = np.dtype(float)\n"
           "    def __array__(s, *a, **k): return np.zeros(3)\n    def __getattr__(s, n): return lambda *a: True\n"
           "def double(x): return A()"),
    Attack("true", "def double(x): return True"),
    Attack("not a number", "import numpy as np\ndef double(x): return np.full(np.shape(x), np.nan)"),
    Attack("infinity", "import numpy as np\ndef double(x): return np.full(np.shape(x), np.inf)"),
    Attack("a broadcastable nothing", "import numpy as np\ndef double(x): return np.zeros((0,))"),
    Attack("a complex number with the right real part", "def double(x): return 2 * x + 1e-3j"),
    Attack("the visible examples by heart",
           "import numpy as np\ndef double(x):\n    return np.array([2.0, 4.0, 6.0]) if np.shape(x) == (3,) else x"),
    Attack("changes what it is compared with", "def double(x):\n    x *= 0\n    return x"),
    # --- the process ---
    Attack("sys.exit", "import sys\ndef double(x): sys.exit(0)", ("died", "fail")),
    Attack("SystemExit at once", "raise SystemExit", ("fail", "missing")),
    Attack("KeyboardInterrupt", "def double(x): raise KeyboardInterrupt", ("died", "fail")),
    Attack("a crash of the interpreter", "import ctypes\ndef double(x): return ctypes.string_at(0)", ("died",)),
    Attack("recursion without end", "def double(x): return double(x)"),
    Attack("recursion without end, without Python's limit",
           "import sys\nsys.setrecursionlimit(10**9)\ndef double(x): return double(x)",
           ("died", "fail", "timeout", "out of memory")),
    Attack("a memory bomb", "def double(x): return bytearray(1 << 40)", ("out of memory",)),
    Attack("a slow memory bomb", "def double(x):\n    a = []\n    while True: a.append(bytearray(10**7))",
           ("out of memory", "timeout", "died")),
    Attack("a fork bomb", "import os\ndef double(x):\n    while True:\n        try: os.fork()\n        except OSError: pass",
           ("timeout", "died"), everywhere=False),
    Attack("a thread bomb",
           "import threading, time\ndef double(x):\n    while True:\n        try: threading.Thread(target=time.sleep, args=(60,), daemon=True).start()\n        except RuntimeError: pass",
           ("timeout", "died", "out of memory"), everywhere=False),
    Attack("fills the disk",
           "def double(x):\n    with open('full', 'wb') as f:\n        while True: f.write(b'0' * 10**7)",
           ("fail", "died", "out of memory", "timeout")),
    Attack("kills its parent", "import os, signal\nos.kill(os.getppid(), 9)" + WRONG, FAIL_OR_DIE, everywhere=False),
    Attack("kills everything it can", "import os\nos.kill(-1, 9)" + WRONG, FAIL_OR_DIE, everywhere=False),
    Attack("stops its parent", "import os, signal\nos.kill(os.getppid(), signal.SIGSTOP)" + WRONG, FAIL_OR_DIE,
           everywhere=False),
    Attack("closes every descriptor", "import os\nos.closerange(0, 100)" + WRONG, FAIL_OR_DIE),
    # --- the machine ---
    Attack("calls home",
           "import socket\ndef double(x):\n    for a in (('127.0.0.1', HOMEPORT), ('localhost', HOMEPORT)):\n"
           "        try: socket.create_connection(a, 0.2).sendall(b'hidden')\n        except OSError: pass\n    return x",
           everywhere=False),
    Attack("looks for secrets",
           "import os\ndef double(x):\n    found = ''\n    for p in ('/proc/self/environ', '/proc/1/environ', '/proc/1/cmdline', 'CAMPUS/.workbench/secret'):\n"
           "        try: found += open(p).read()\n        except OSError: pass\n    raise RuntimeError(found + str(dict(os.environ)))",
           everywhere=False),
    Attack("reads another student's answer",
           "import glob, json\nfor p in glob.glob('CAMPUS/submitted/*/pair/*.ipynb') + glob.glob('/proc/*/cwd/submitted/*/pair/*.ipynb'):\n"
           "    for c in json.load(open(p))['cells']:\n        if 'return 2 * x' in ''.join(c['source']): exec(''.join(c['source']))\n"
           "if 'double' not in globals():\n    def double(x): return x",
           everywhere=False),
    Attack("changes the library on the disk",
           "import workbench.course.checks as c\ntry: open(c.__file__, 'w').write('def same(*a): pass')\nexcept OSError: pass" + WRONG,
           everywhere=False),
    Attack("changes the library in memory",
           "import workbench.course.checks as c\nfor n in c.__all__: setattr(c, n, lambda *a, **k: 2)" + WRONG),
    Attack("changes the built-ins",
           "import builtins\nfor n in ('len', 'abs', 'isinstance', 'max', 'all', 'any', 'float'):\n    setattr(builtins, n, lambda *a, **k: True)" + WRONG,
           FAIL_OR_DIE),
    Attack("takes the library's own function", "from workbench.manual import affine\ndef double(x): return 2 * x",
           ("missing", "fail")),
    Attack("takes the function that is withheld",
           "from workbench import arrays\ndef double(x):\n    arrays.im2col(x[None, None, None], (1, 1))\n    return 2 * x"),
    # --- texts ---
    Attack("an error of ten million letters", "def double(x): raise ValueError('<script>alert(1)</script>' * 400000)"),
    Attack("an error with terminal codes and half characters",
           "def double(x): raise ValueError('\\x1b[2J\\x07\\ud800\\u202e' + '\\0')"),
    Attack("an error that cannot be told",
           "class E(Exception):\n    def __str__(s): raise s\ndef double(x): raise E"),
    Attack("an error whose text never ends",
           "class E(Exception):\n    def __str__(s):\n        while True: pass\ndef double(x): raise E", ("timeout",)),
    Attack("a function whose name is a program", "def double(x): return x\ndouble.__name__ = '<img src=x onerror=alert(1)>' * 9999"),
    Attack("text that is no Python", "def double(x:\n    return 2 *", ("fail", "missing")),
    Attack("brackets without end", "(" * 100000, ("fail", "missing", "died")),
    Attack("null bytes", "def double(x):\n    return 2 * x\n\0", ("fail", "missing")),
    Attack("lets another thread answer",
           "import threading, time, os\ndef double(x):\n    def late():\n        time.sleep(0.01); os._exit(0)\n"
           "    threading.Thread(target=late).start()\n    return x",
           ("fail", "died")),
    Attack("leaves things to be done at exit",
           "import atexit, sys\natexit.register(print, 'bye')\nclass D:\n    def __del__(s): sys.exit()\nd = D()" + WRONG),
    Attack("calls what it is given without end",
           "def double(x): return x\ndef apply(f, x):\n    while True: f(x)", ("fail",)),
    Attack("nothing", "pass", ("missing",)),
    Attack("not a function", "double = 3", ("fail",)),
]  # fmt: skip
