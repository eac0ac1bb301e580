package rules

import (
	"strings"

	"github.com/mlops-bot/mlops-bot/shared/domain"
)

func missingSystemLibrary() *Rule {
	return &Rule{
		ID: "missing-system-library", Category: "missing-system-library",
		Title:    "A system library or package is missing",
		Severity: High, Remedy: domain.RemedyFix, Rank: RankSetup,
		FactNames: []string{"library", "package"},
		Patterns: patterns(
			exc+`(?:ImportError|OSError|RuntimeError|LibsndfileNotFoundError)?:? ?(?P<library>lib[\w.+-]+\.so[\w.]*): cannot open shared object file`,
			`error while loading shared libraries: (?P<library>[^:\s]+): cannot open shared object file`,
			`E: Unable to locate package (?P<package>\S+)`,
			`E: Package '(?P<package>[^']+)' has no installation candidate`,
			`E: Couldn't find any package by (?:glob|regex) '(?P<package>[^']+)'`,
			`\S+\.(?:c|cc|cpp|cxx|cu|h|hpp|pyx)(?::\d+){1,2}: fatal error: '?(?P<library>[\w./+-]+\.h(?:pp)?)'?:? (?:No such file or directory|file not found)`,
			`ld: cannot find -l(?P<library>[\w.+-]+)`,
			`ld: library (?:not found for -l|')(?P<library>[\w.+-]+)(?:' not found)?`,
			`Library not loaded: (?P<library>\S+)`,
			`Error: (?P<library>pg_config|mysql_config|gdal-config|llvm-config) executable not found`,
			`No package '(?P<library>[\w.+-]+)' found$`,
			`Command 'pkg-config --exists (?P<library>[\w.+-]+)' returned non-zero exit status`,
			`^Package '(?P<library>[\w.+-]+)', required by '[^']+', not found`,
			`^ +Could NOT find (?P<library>\w+) \(missing: `,
			exc+`OSError: (?P<library>sndfile|cairo|magic) library not found`,
			exc+`OSError: (?:cannot load library|no library called) ['"](?P<library>[\w.+-]+)['"]`,
		),
		Keys: []string{"library", "package"},
		Refine: func(_ *Window, m *Match) bool {
			// The GPU's libraries are another matter.
			lib := m.Facts["library"]
			return !strings.HasPrefix(lib, "libcu") && !strings.HasPrefix(lib, "libnv")
		},
	}
}
