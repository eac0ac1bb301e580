package edit

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	version "github.com/aquasecurity/go-pep440-version"

	"github.com/mlops-bot/mlops-bot/shared/domain"
)

// Requirement is a PEP 508 requirement as far as the editors look at it.
type Requirement struct {
	Name      string // normalised (PEP 503)
	Raw       string // the name as written
	Extras    string // "[a,b]" as written, or ""
	Specifier string // "numpy>=1,<2" has ">=1,<2"; "" where there is none
	Marker    string // after ";", without it
	URL       string // of a direct reference
}

var separators = regexp.MustCompile(`[-_.]+`)

// Normalize is the PEP 503 form of a distribution's name.
func Normalize(name string) string {
	return strings.ToLower(separators.ReplaceAllString(name, "-"))
}

var requirement = regexp.MustCompile(`\A\s*([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)\s*(\[[A-Za-z0-9._,\s-]*\])?\s*(.*)\z`)

// ParseRequirement parses one requirement without comments and options. The
// error wraps ErrSyntax.
func ParseRequirement(s string) (Requirement, error) {
	bad := func(why string) (Requirement, error) {
		return Requirement{}, domain.Errorf(domain.Invalid, "parse the requirement", "%.80q %s: %w", s, why, ErrSyntax)
	}
	if len(s) > 1000 || strings.ContainsAny(s, "\n\r") {
		return bad("is not one short line")
	}
	m := requirement.FindStringSubmatch(s)
	if m == nil {
		return bad("has no name")
	}
	r := Requirement{Name: Normalize(m[1]), Raw: m[1], Extras: m[2]}
	rest := m[3]
	if strings.HasPrefix(rest, "@") {
		url, marker, _ := strings.Cut(strings.TrimSpace(rest[1:]), " ;")
		if url == "" {
			return bad("has no URL")
		}
		r.URL, r.Marker = strings.TrimSpace(url), strings.TrimSpace(marker)
		return r, nil
	}
	spec, marker, hasMarker := strings.Cut(rest, ";")
	r.Specifier, r.Marker = strings.TrimSpace(spec), strings.TrimSpace(marker)
	if hasMarker && r.Marker == "" {
		return bad("has an empty marker")
	}
	if s := r.Specifier; strings.HasPrefix(s, "(") && strings.HasSuffix(s, ")") {
		r.Specifier = strings.TrimSpace(s[1 : len(s)-1])
	}
	for _, clause := range strings.Split(r.Specifier, ",") {
		clause = strings.TrimSpace(clause)
		if clause == "" {
			continue // no specifier, or a trailing comma, which pip accepts
		}
		if !specifier.MatchString(clause) {
			return bad("has a version that can't be read")
		}
		// "==1.*", "===x" and local versions are beyond the library's constraints.
		if strings.HasPrefix(clause, "===") || strings.ContainsAny(clause, "*+") {
			continue
		}
		if _, err := version.NewSpecifiers(clause); err != nil {
			return bad("has a version that can't be read")
		}
	}
	return r, nil
}

var specifier = regexp.MustCompile(`\A(?:===|==|~=|!=|<=|>=|<|>)\s*[A-Za-z0-9.*+!_-]+\z`)

// RequirementLine is one requirement of a requirements file.
type RequirementLine struct {
	Requirement
	Line
	// Hashed: it carries --hash options, so that pip demands a hash of every
	// requirement.
	Hashed bool
}

// RequirementsFile is a requirements.txt.
type RequirementsFile struct {
	Requirements []RequirementLine
	// Includes are the files named by -r, relative to the file.
	Includes []string
	// Constraints are the files named by -c.
	Constraints []string
	// Project: "-e ." or "." installs the repository's own package.
	Project bool
	// Unread counts lines that are neither: options, URLs, local paths.
	Unread int
}

// Hashed reports whether the file is installed with --require-hashes.
func (f RequirementsFile) Hashed() bool {
	return slices.ContainsFunc(f.Requirements, func(r RequirementLine) bool { return r.Hashed })
}

// ParseRequirements parses a requirements file as pip reads it. The error wraps
// ErrSyntax for files that are not UTF-8 text or hold a line that pip refuses.
func ParseRequirements(b []byte) (RequirementsFile, error) {
	if err := checkText(b); err != nil {
		return RequirementsFile{}, err
	}
	var f RequirementsFile
	lines := Lines(b)
	for i := 0; i < len(lines); i++ {
		first, text := lines[i], lines[i].Text
		last := first
		for strings.HasSuffix(text, `\`) && i+1 < len(lines) {
			i++
			last = lines[i]
			text = strings.TrimSuffix(text, `\`) + " " + last.Text
		}
		text = stripComment(text)
		if text == "" {
			continue
		}
		if strings.ContainsAny(text[:1], "-./$") || bareURL.MatchString(text) {
			f.option(text)
			continue
		}
		hashed := false
		if at := strings.Index(text, " --"); at >= 0 {
			hashed = strings.Contains(text[at:], "--hash")
			text = strings.TrimSpace(text[:at])
		}
		r, err := ParseRequirement(text)
		if err != nil {
			return RequirementsFile{}, fmt.Errorf("line %d: %w", first.Number, err)
		}
		f.Requirements = append(f.Requirements, RequirementLine{Requirement: r, Hashed: hashed,
			Line: Line{Number: first.Number, Start: first.Start, End: last.End, Text: string(b[first.Start:last.End])}})
	}
	return f, nil
}

func (f *RequirementsFile) option(text string) {
	words := strings.Fields(strings.Replace(text, "=", " ", 1))
	long := map[string]string{"-r": "-r", "--requirement": "-r", "-c": "-c", "--constraint": "-c", "-e": "-e", "--editable": "-e"}
	kind, target := long[words[0]], ""
	switch {
	case kind != "" && len(words) > 1:
		target = words[1]
	case len(words) == 1 && len(text) > 2 && (text[:2] == "-r" || text[:2] == "-c" || text[:2] == "-e"):
		kind, target = text[:2], text[2:] // pip accepts "-rother.txt"
	case words[0] == "." || strings.HasPrefix(words[0], ".["):
		kind, target = "-e", words[0]
	}
	switch {
	case kind == "-r":
		f.Includes = append(f.Includes, target)
	case kind == "-c":
		f.Constraints = append(f.Constraints, target)
	case kind == "-e" && (target == "." || strings.HasPrefix(target, ".[")):
		f.Project = true
	default:
		f.Unread++
	}
}

var bareURL = regexp.MustCompile(`\A[a-z+]+://|\A[A-Za-z0-9_.-]+/`)

// stripComment removes a comment as pip does: "#" begins one at the start of a
// line or after white space.
func stripComment(s string) string {
	for i := range s {
		if s[i] == '#' && (i == 0 || s[i-1] == ' ' || s[i-1] == '\t') {
			s = s[:i]
			break
		}
	}
	return strings.TrimSpace(s)
}

var generated = regexp.MustCompile(`(?i)autogenerated by pip-compile|generated by pip-compile|autogenerated by uv|generated (?:automatically )?by (?:poetry|pdm|hatch|pipenv|uv|conda-lock|pip freeze)|this file is (?:auto-?)?generated|@generated|do not edit`)

// Generated returns the line in the file's head that says that a tool wrote it,
// or "".
func Generated(b []byte) string {
	for i, l := range Lines(b) {
		text := strings.TrimSpace(l.Text)
		if i >= 15 || (text != "" && !strings.HasPrefix(text, "#") && !strings.HasPrefix(text, "//") && !strings.HasPrefix(text, "-")) {
			return ""
		}
		if strings.HasPrefix(text, "#") && generated.MatchString(text) {
			return strings.TrimSpace(strings.TrimLeft(text, "# "))
		}
	}
	return ""
}

// AddRequirement adds a requirement to a requirements file: at its sorted
// position where the file is sorted, else behind the last requirement. The error
// wraps ErrPresent, ErrSyntax, or ErrNoPlace for files with hashes.
func AddRequirement(b []byte, req string) ([]domain.Splice, error) {
	r, err := ParseRequirement(req)
	if err != nil {
		return nil, err
	}
	f, err := ParseRequirements(b)
	if err != nil {
		return nil, err
	}
	if f.Hashed() {
		return nil, fmt.Errorf("pip demands a hash of every requirement there: %w", ErrNoPlace)
	}
	names := make([]string, 0, len(f.Requirements))
	for _, l := range f.Requirements {
		if l.Name == r.Name {
			return nil, fmt.Errorf("%s: %w", r.Name, ErrPresent)
		}
		names = append(names, l.Name)
	}
	if len(names) == 0 {
		return addToEnd(b, req), nil
	}
	if len(names) > 2 && slices.IsSorted(names) {
		at, _ := slices.BinarySearch(names, r.Name)
		if at == 0 {
			return []domain.Splice{InsertBefore(b, f.Requirements[0].Start, req)}, nil
		}
		return []domain.Splice{InsertAfter(b, f.Requirements[at-1].End, req)}, nil
	}
	return []domain.Splice{InsertAfter(b, f.Requirements[len(names)-1].End, req)}, nil
}

func addToEnd(b []byte, line string) []domain.Splice {
	if len(b) == 0 || b[len(b)-1] == '\n' || string(b) == bom {
		return []domain.Splice{insert(len(b), line+newline(b))}
	}
	return []domain.Splice{insert(len(b), newline(b)+line)}
}

// Constrain adds an upper bound such as "<2" to a requirement's specifier,
// without touching its other parts: the bound goes behind the last clause, in the
// way that the clauses are separated. It returns the new text; the error wraps
// ErrPresent where an upper bound or a pin is there already.
func Constrain(req, bound string) (string, error) {
	r, err := ParseRequirement(req)
	if err != nil {
		return "", err
	}
	if r.URL != "" || strings.Contains(req, "(") {
		return "", fmt.Errorf("a direct reference or parentheses: %w", ErrNoPlace)
	}
	for clause := range strings.SplitSeq(r.Specifier, ",") {
		clause = strings.TrimSpace(clause)
		if strings.HasPrefix(clause, "<") || strings.HasPrefix(clause, "=") || strings.HasPrefix(clause, "~") {
			return "", fmt.Errorf("the bound %q: %w", clause, ErrPresent)
		}
	}
	head, tail := req, ""
	if at := strings.Index(req, ";"); at >= 0 {
		head, tail = req[:at], req[at:]
	}
	trimmed := strings.TrimRight(head, " \t")
	space := head[len(trimmed):]
	if r.Specifier == "" {
		return trimmed + bound + space + tail, nil
	}
	sep := ","
	if strings.Contains(r.Specifier, ", ") {
		sep = ", "
	}
	return trimmed + sep + bound + space + tail, nil
}
