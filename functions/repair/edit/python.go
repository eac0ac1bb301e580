package edit

import (
	"fmt"
	"slices"
	"strings"

	"github.com/mlops-bot/mlops-bot/shared/domain"
)

// TokenKind is what a Python token is.
type TokenKind byte

// The kinds of tokens. White space and continuations give none.
const (
	Name    TokenKind = iota // identifiers and keywords
	Number                   // any number
	String                   // with prefix and quotes; f-strings whole
	Op                       // operators and delimiters
	Comment                  // from "#" to the end of the line
	Newline                  // the end of a logical line
)

// Token is one token of Python source.
type Token struct {
	Kind       TokenKind
	Text       string
	Start, End int // byte offsets
	Line       int // from 1
	Depth      int // of open brackets before it
}

// Tokens splits Python source into tokens. The error wraps ErrSyntax for strings
// without an end and unbalanced brackets.
func Tokens(b []byte) ([]Token, error) {
	if err := checkText(b); err != nil {
		return nil, err
	}
	t := &tokenizer{b: b, line: 1}
	if strings.HasPrefix(string(b[:min(len(b), len(bom))]), bom) {
		t.at = len(bom)
	}
	for t.at < len(b) {
		if err := t.next(); err != nil {
			return nil, err
		}
	}
	if len(t.open) > 0 {
		return nil, t.fail("the file ends within brackets")
	}
	if n := len(t.out); n > 0 && t.out[n-1].Kind != Newline {
		t.emit(Newline, t.at)
	}
	return t.out, nil
}

type tokenizer struct {
	b    []byte
	at   int
	line int
	open []byte // brackets
	out  []Token
}

func (t *tokenizer) fail(why string) error {
	return domain.Errorf(domain.Invalid, "read the Python source", "line %d: %s: %w", t.line, why, ErrSyntax)
}

func (t *tokenizer) emit(kind TokenKind, end int) {
	t.out = append(t.out, Token{kind, string(t.b[t.at:end]), t.at, end, t.line, len(t.open)})
	t.line += strings.Count(string(t.b[t.at:end]), "\n")
	t.at = end
}

func nameByte(c byte) bool {
	return c == '_' || c >= 0x80 || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

func digit(c byte) bool { return c >= '0' && c <= '9' }

func (t *tokenizer) peek(n int) byte {
	if t.at+n < len(t.b) {
		return t.b[t.at+n]
	}
	return 0
}

var operators = []string{
	"**=", "//=", ">>=", "<<=", "...",
	"==", "!=", "<=", ">=", "->", ":=", "**", "//", "<<", ">>", "+=", "-=", "*=", "/=", "%=", "&=", "|=", "^=", "@=",
}

func (t *tokenizer) next() error {
	c := t.b[t.at]
	switch {
	case c == '\n':
		if n := len(t.out); len(t.open) == 0 && n > 0 && t.out[n-1].Kind != Newline {
			t.emit(Newline, t.at+1)
			return nil
		}
		t.line++
		t.at++
	case c == ' ' || c == '\t' || c == '\r' || c == '\f':
		t.at++
	case c == '\\' && (t.peek(1) == '\n' || t.peek(1) == '\r' && t.peek(2) == '\n'):
		t.at = nextLine(t.b, t.at)
		t.line++
	case c == '#':
		end := lineEnd(t.b, t.at)
		t.out = append(t.out, Token{Comment, string(t.b[t.at:end]), t.at, end, t.line, len(t.open)})
		t.at = end
	case c == '"' || c == '\'':
		return t.str(0)
	case digit(c) || c == '.' && digit(t.peek(1)):
		end := t.at + 1
		for end < len(t.b) && (nameByte(t.b[end]) || t.b[end] == '.' ||
			(t.b[end] == '+' || t.b[end] == '-') && (t.b[end-1] == 'e' || t.b[end-1] == 'E') && !strings.HasPrefix(strings.ToLower(string(t.b[t.at:end])), "0x")) {
			end++
		}
		t.emit(Number, end)
	case nameByte(c):
		end := t.at + 1
		for end < len(t.b) && nameByte(t.b[end]) {
			end++
		}
		if n := end - t.at; n <= 2 && end < len(t.b) && (t.b[end] == '"' || t.b[end] == '\'') && strings.Trim(strings.ToLower(string(t.b[t.at:end])), "rbfut") == "" {
			return t.str(n)
		}
		t.emit(Name, end)
	default:
		return t.operator(c)
	}
	return nil
}

func (t *tokenizer) operator(c byte) error {
	switch c {
	case '(', '[', '{':
		if len(t.open) >= 200 {
			return t.fail("brackets nested too deeply")
		}
		t.emit(Op, t.at+1)
		t.open = append(t.open, c)
		return nil
	case ')', ']', '}':
		want := map[byte]byte{')': '(', ']': '[', '}': '{'}[c]
		if len(t.open) == 0 || t.open[len(t.open)-1] != want {
			return t.fail("a bracket that closes nothing")
		}
		t.open = t.open[:len(t.open)-1]
		t.emit(Op, t.at+1)
		return nil
	}
	for _, op := range operators {
		if strings.HasPrefix(string(t.b[t.at:min(len(t.b), t.at+3)]), op) {
			t.emit(Op, t.at+len(op))
			return nil
		}
	}
	if !strings.ContainsRune("+-*/%@&|^~<>.,:;=!", rune(c)) {
		return t.fail(fmt.Sprintf("the byte %q begins no token", c))
	}
	t.emit(Op, t.at+1)
	return nil
}

// str reads a string whose prefix has n bytes.
func (t *tokenizer) str(n int) error {
	q := t.b[t.at+n]
	i := t.at + n + 1
	triple := i+1 < len(t.b) && t.b[i] == q && t.b[i+1] == q
	if triple {
		i += 2
	}
	for ; i < len(t.b); i++ {
		switch {
		case t.b[i] == '\\':
			if i+2 < len(t.b) && t.b[i+1] == '\r' && t.b[i+2] == '\n' {
				i++
			}
			i++
		case !triple && t.b[i] == '\n':
			return t.fail("a string without an end")
		case t.b[i] == q && !triple:
			t.emit(String, i+1)
			return nil
		case t.b[i] == q && i+2 < len(t.b) && t.b[i+1] == q && t.b[i+2] == q:
			t.emit(String, i+3)
			return nil
		}
	}
	return t.fail("a string without an end")
}

// code returns the tokens without comments.
func code(tokens []Token) []Token {
	return slices.DeleteFunc(slices.Clone(tokens), func(t Token) bool { return t.Kind == Comment })
}

// statements splits tokens into logical lines, without comments and Newlines.
func statements(tokens []Token) [][]Token {
	var out [][]Token
	var cur []Token
	for _, t := range code(tokens) {
		if t.Kind == Newline {
			if len(cur) > 0 {
				out = append(out, cur)
			}
			cur = nil
			continue
		}
		cur = append(cur, t)
	}
	return out
}

// CheckPython reports what is wrong with the form of Python source, as far as
// tokens and indentation tell: strings and brackets end, blocks are indented
// where a colon opens one and nowhere else, and dedents meet an outer level. The
// error wraps ErrSyntax.
func CheckPython(b []byte) error {
	tokens, err := Tokens(b)
	if err != nil {
		return err
	}
	levels, opens := []int{0}, false
	for _, s := range statements(tokens) {
		width := 0
		for _, c := range indentOf(b, s[0].Start) {
			if c == '\t' {
				width = width/8*8 + 8
			} else {
				width++
			}
		}
		top := levels[len(levels)-1]
		fail := func(why string) error {
			return domain.Errorf(domain.Invalid, "read the Python source", "line %d: %s: %w", s[0].Line, why, ErrSyntax)
		}
		switch {
		case opens && width <= top:
			return fail("a block is expected")
		case !opens && width > top:
			return fail("unexpected indentation")
		case width > top:
			levels = append(levels, width)
		}
		for width < levels[len(levels)-1] {
			levels = levels[:len(levels)-1]
			if width > levels[len(levels)-1] {
				return fail("the indentation meets no outer level")
			}
		}
		last := s[len(s)-1]
		opens = last.Kind == Op && last.Text == ":"
	}
	if opens {
		return domain.Errorf(domain.Invalid, "read the Python source", "the file ends where a block is expected: %w", ErrSyntax)
	}
	return nil
}

// Import is one imported module of Python source.
type Import struct {
	// Module is the dotted name; for "from a import b" it is "a". Relative imports
	// have Level dots.
	Module string
	Level  int
	// As is the name that "import a as b" binds; for "import a.b" it is "a".
	As string
	// Names are what "from" imports, as (name, bound name).
	Names [][2]string
	Line  int
	// Nested: within a function, an if or a try.
	Nested bool
	// Start and End are the offsets of the whole statement.
	Start, End int
}

// Top is the module's first part.
func (i Import) Top() string { top, _, _ := strings.Cut(i.Module, "."); return top }

// Imports lists the import statements of Python source. The error wraps
// ErrSyntax.
func Imports(b []byte) ([]Import, error) {
	tokens, err := Tokens(b)
	if err != nil {
		return nil, err
	}
	var out []Import
	for _, s := range statements(tokens) {
		for _, part := range splitOps(s, ";") {
			// "try: import x" on one line.
			nested := indentOf(b, s[0].Start) != ""
			for len(part) > 2 && part[1].Text == ":" && part[0].Kind == Name {
				part, nested = part[2:], true
			}
			if len(part) < 2 {
				continue
			}
			base := Import{Line: part[0].Line, Nested: nested, Start: part[0].Start, End: part[len(part)-1].End}
			switch part[0].Text {
			case "import":
				for _, clause := range splitOps(part[1:], ",") {
					imp := base
					rest := imp.dotted(clause)
					if imp.Module == "" {
						continue
					}
					imp.As = imp.Top()
					if len(rest) == 2 && rest[0].Text == "as" {
						imp.As = rest[1].Text
					}
					out = append(out, imp)
				}
			case "from":
				imp := base
				rest := part[1:]
				for len(rest) > 0 && strings.Trim(rest[0].Text, ".") == "" {
					imp.Level += len(rest[0].Text)
					rest = rest[1:]
				}
				rest = imp.dotted(rest)
				if len(rest) == 0 || rest[0].Text != "import" || imp.Module == "" && imp.Level == 0 {
					continue
				}
				rest = slices.DeleteFunc(slices.Clone(rest[1:]), func(t Token) bool { return t.Text == "(" || t.Text == ")" })
				for _, clause := range splitOps(rest, ",") {
					switch {
					case len(clause) == 3 && clause[1].Text == "as":
						imp.Names = append(imp.Names, [2]string{clause[0].Text, clause[2].Text})
					case len(clause) == 1:
						imp.Names = append(imp.Names, [2]string{clause[0].Text, clause[0].Text})
					}
				}
				out = append(out, imp)
			}
		}
	}
	return out, nil
}

// dotted reads a dotted name at the head of tokens into Module and returns the
// rest.
func (i *Import) dotted(tokens []Token) []Token {
	for n := 0; n < len(tokens); n += 2 {
		if tokens[n].Kind != Name || tokens[n].Text == "import" || tokens[n].Text == "as" {
			return tokens[n:]
		}
		if n > 0 {
			i.Module += "."
		}
		i.Module += tokens[n].Text
		if n+1 >= len(tokens) || tokens[n+1].Text != "." {
			return tokens[n+1:]
		}
	}
	return nil
}

func splitOps(tokens []Token, op string) [][]Token {
	var out [][]Token
	start := 0
	for i, t := range tokens {
		if t.Kind == Op && t.Text == op {
			out = append(out, tokens[start:i])
			start = i + 1
		}
	}
	return append(out, tokens[start:])
}

// Binds reports whether Python source gives a name a meaning of its own, other
// than by the imports in except: an assignment, a definition, a parameter, a loop
// variable, an import.
func Binds(tokens []Token, name string) bool {
	tokens = code(tokens)
	inDef := -1 // depth of a def's parameters
	read := 0   // tokens before it were searched for an assignment, in vain
	for i, t := range tokens {
		prev, next := "", ""
		if i > 0 {
			prev = tokens[i-1].Text
		}
		if i+1 < len(tokens) {
			next = tokens[i+1].Text
		}
		switch {
		case t.Kind == Op && t.Text == "(" && i > 1 && tokens[i-2].Text == "def":
			inDef = t.Depth + 1
		case t.Kind == Op && t.Text == ")" && t.Depth < inDef:
			inDef = -1
		}
		if t.Kind != Name || t.Text != name || prev == "." {
			continue
		}
		switch {
		case slices.Contains([]string{"def", "class", "as", "import", "for", "global", "nonlocal", "lambda"}, prev):
			return true
		case next == ":=" || next == "=" && t.Depth == 0 && prev != ":": // "x: int = 1" annotates
			return true
		case t.Depth == 0 && (next == "," || prev == ",") && i >= read:
			n, yes := assigned(tokens[i:])
			if yes {
				return true
			}
			read = i + n
		case inDef == t.Depth && (prev == "(" || prev == "," || prev == "*" || prev == "**"):
			return true
		}
	}
	return false
}

// assigned reports whether the statement goes on to a plain "=" or an "in" of a
// for loop, and how many tokens that took.
func assigned(tokens []Token) (int, bool) {
	for i, t := range tokens {
		switch {
		case t.Kind == Newline || t.Text == ":" || t.Text == ";" || t.Text == "(":
			return i, false
		case t.Kind == Op && t.Text == "=" && t.Depth == 0, t.Kind == Name && t.Text == "in":
			return i, true
		}
	}
	return len(tokens), false
}

// SetupList finds the list literal of a setup() argument in setup.py and adds a
// requirement to it: `install_requires=[…]`, the same key in a dict, or a list
// constant that it names. For an extra, key is "extras_require" and extra its
// name. The error wraps ErrNoPlace or ErrPresent.
func SetupList(b []byte, req, key, extra string) ([]domain.Splice, error) {
	l, err := setupList(b, key, extra)
	if err != nil {
		return nil, err
	}
	return l.add(b, req)
}

// SetupRequirements lists the requirements of a setup() argument, as far as they
// are literal. The error wraps ErrNoPlace.
func SetupRequirements(b []byte, key, extra string) ([]string, error) {
	l, err := setupList(b, key, extra)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, it := range l.items {
		if it.plain {
			out = append(out, it.value)
		}
	}
	return out, nil
}

func setupList(b []byte, key, extra string) (list, error) {
	tokens, err := Tokens(b)
	if err != nil {
		return list{}, err
	}
	all := code(tokens)
	at, err := argument(all, key)
	if err != nil {
		return list{}, err
	}
	if at, err = resolve(all, at); err != nil {
		return list{}, err
	}
	if extra != "" {
		if all[at].Text != "{" {
			return list{}, fmt.Errorf("%s is no dict literal: %w", key, ErrNoPlace)
		}
		if at, err = dictValue(all, at, extra); err != nil {
			return list{}, err
		}
		if at, err = resolve(all, at); err != nil {
			return list{}, err
		}
	}
	return pythonList(all, at)
}

// argument finds the value of a keyword argument or of a dict's string key.
func argument(tokens []Token, key string) (int, error) {
	found := -1
	for i := 1; i+1 < len(tokens); i++ {
		t, next := tokens[i-1], tokens[i]
		keyword := t.Kind == Name && t.Text == key && next.Text == "=" && t.Depth > 0
		entry := t.Kind == String && unquote(t.Text) == key && next.Text == ":" && t.Depth > 0
		if !keyword && !entry {
			continue
		}
		if found >= 0 {
			return 0, fmt.Errorf("%s is there twice: %w", key, ErrNoPlace)
		}
		found = i + 1
	}
	if found < 0 {
		return 0, fmt.Errorf("there is no %s: %w", key, ErrNoPlace)
	}
	return found, nil
}

// resolve follows a name to the literal that the module assigns to it once.
func resolve(tokens []Token, at int) (int, error) {
	for range 4 {
		t := tokens[at]
		if t.Kind != Name {
			return at, nil
		}
		if at+1 < len(tokens) && (tokens[at+1].Text == "(" || tokens[at+1].Text == "." || tokens[at+1].Text == "[") {
			return 0, fmt.Errorf("%s is computed: %w", t.Text, ErrNoPlace)
		}
		found := -1
		for i := 0; i+2 < len(tokens); i++ {
			head := i == 0 || tokens[i-1].Kind == Newline
			if !head || tokens[i].Text != t.Text || tokens[i].Depth != 0 {
				continue
			}
			value := i + 2
			if tokens[i+1].Text == ":" { // REQS: list[str] = […]
				for value < len(tokens) && tokens[value-1].Text != "=" && tokens[value-1].Kind != Newline {
					value++
				}
			}
			if tokens[value-1].Text == "=" && value < len(tokens) {
				if found >= 0 {
					return 0, fmt.Errorf("%s is assigned twice: %w", t.Text, ErrNoPlace)
				}
				found = value
			}
		}
		if found < 0 {
			return 0, fmt.Errorf("%s is no constant of the file: %w", t.Text, ErrNoPlace)
		}
		at = found
	}
	return 0, fmt.Errorf("names that name each other: %w", ErrNoPlace)
}

func dictValue(tokens []Token, open int, key string) (int, error) {
	depth := tokens[open].Depth + 1
	for i := open + 1; i+2 < len(tokens) && tokens[i].Depth >= depth; i++ {
		if tokens[i].Depth == depth && tokens[i].Kind == String && unquote(tokens[i].Text) == key && tokens[i+1].Text == ":" {
			return i + 2, nil
		}
	}
	return 0, fmt.Errorf("there is no key %q: %w", key, ErrNoPlace)
}

// pythonList reads the list, tuple or set literal that begins at a token.
func pythonList(tokens []Token, at int) (list, error) {
	open := tokens[at]
	if open.Text != "[" {
		return list{}, fmt.Errorf("line %d holds no list literal: %w", open.Line, ErrNoPlace)
	}
	l := list{open: open.Start, close: -1}
	depth := open.Depth + 1
	cur := item{start: -1, comma: -1}
	flush := func() {
		if cur.start >= 0 {
			l.items = append(l.items, cur)
		}
		cur = item{start: -1, comma: -1}
	}
	for _, t := range tokens[at+1:] {
		switch {
		case t.Depth == depth-1 && t.Text == "]":
			flush()
			l.close = t.Start
			return l, nil
		case t.Depth == depth && t.Kind == Op && t.Text == ",":
			cur.comma = t.Start
			flush()
		case t.Kind == Name && t.Text == "for" && t.Depth == depth:
			return list{}, fmt.Errorf("line %d holds a comprehension: %w", t.Line, ErrNoPlace)
		case cur.start < 0:
			value := unquote(t.Text)
			cur = item{start: t.Start, end: t.End, value: value, plain: t.Kind == String && len(value) == len(t.Text)-2, comma: -1}
		default:
			cur.end, cur.plain = t.End, false
		}
	}
	return list{}, fmt.Errorf("a list without an end: %w", ErrSyntax)
}

// unquote is the value of a simple one-line string, or "" for others.
func unquote(s string) string {
	if len(s) < 2 || s[0] != s[len(s)-1] || (s[0] != '"' && s[0] != '\'') || strings.ContainsAny(s[1:len(s)-1], "\\\n") || strings.HasPrefix(s, s[:1]+s[:1]) {
		return ""
	}
	return s[1 : len(s)-1]
}
