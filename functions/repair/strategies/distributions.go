package strategies

import (
	_ "embed" // the table of distributions
	"regexp"
	"strings"

	"github.com/mlops-bot/mlops-bot/functions/repair/edit"
)

// A wrong name would install a stranger's code, so that only two sources are
// trusted: this table, and what the repository already requires elsewhere. The
// index is never asked, and a name is never guessed from the import.

//go:embed distributions.txt
var distributionsText string

// distributions maps imports to distributions, "" for those that must not be
// added.
var distributions = func() map[string]string {
	out := map[string]string{}
	for line := range strings.Lines(distributionsText) {
		words := strings.Fields(line)
		switch {
		case len(words) == 0 || strings.HasPrefix(line, "#"):
		case len(words) == 1:
			out[words[0]] = words[0]
		case words[1] == "-":
			out[words[0]] = ""
		default:
			out[words[0]] = words[1]
		}
	}
	return out
}()

// distribution finds the distribution that brings a module. ok is false where
// that is not certain.
func distribution(module string) (name string, ok bool) {
	for part := module; part != ""; {
		if dist, known := distributions[part]; known {
			// "sklearn.foo" is missing in an installed scikit-learn; only namespace
			// packages are missing in part.
			return dist, dist != "" && (part == module || strings.Contains(part, "."))
		}
		at := strings.LastIndexByte(part, '.')
		if at < 0 {
			break
		}
		part = part[:at]
	}
	return "", false
}

var moduleName = regexp.MustCompile(`\A[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*){0,8}\z`)

// sameName reports whether a distribution has the module's own name.
func sameName(dist, module string) bool {
	return edit.Normalize(dist) == edit.Normalize(module)
}

// standard are the top-level modules of Python 3's standard library, those that
// versions up to 3.14 removed too.
var standard = func() map[string]bool {
	out := map[string]bool{}
	for name := range strings.FieldsSeq(`
abc aifc annotationlib antigravity argparse array ast asynchat asyncio asyncore atexit audioop base64 bdb binascii binhex bisect builtins bz2 cProfile calendar cgi cgitb chunk
cmath cmd code codecs codeop collections colorsys compileall compression concurrent configparser contextlib contextvars copy copyreg crypt csv ctypes curses dataclasses datetime dbm
decimal difflib dis distutils doctest email encodings ensurepip enum errno faulthandler fcntl filecmp fileinput fnmatch formatter fractions ftplib functools gc genericpath getopt getpass
gettext glob graphlib grp gzip hashlib heapq hmac html http idlelib imaplib imghdr imp importlib inspect io ipaddress itertools json keyword lib2to3 linecache locale logging
lzma mailbox mailcap marshal math mimetypes mmap modulefinder msilib msvcrt multiprocessing netrc nis nntplib nt ntpath nturl2path numbers opcode operator optparse os ossaudiodev
parser pathlib pdb pickle pickletools pipes pkgutil platform plistlib poplib posix posixpath pprint profile pstats pty pwd py_compile pyclbr pydoc pydoc_data pyexpat queue quopri
random re readline reprlib resource rlcompleter runpy sched secrets select selectors shelve shlex shutil signal site smtpd smtplib sndhdr socket socketserver spwd sqlite3
sre_compile sre_constants sre_parse ssl stat statistics string stringprep struct subprocess sunau symbol symtable sys sysconfig syslog tabnanny tarfile telnetlib tempfile termios test
textwrap this threading time timeit tkinter token tokenize tomllib trace traceback tracemalloc tty turtle turtledemo types typing unicodedata unittest urllib uu uuid venv warnings
wave weakref webbrowser winreg winsound wsgiref xdrlib xml xmlrpc zipapp zipfile zipimport zlib zoneinfo _ctypes _sqlite3 _lzma _bz2 _tkinter`) {
		out[name] = true
	}
	return out
}()
