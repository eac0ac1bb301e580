package standin

import (
	"cmp"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// scope is what the expressions of a workflow see: a value by its dotted name.
type scope map[string]string

// status is what the functions success, failure and cancelled go by.
type status struct{ failed, cancelled bool }

const maxExpression = 4096

var errExpression = errors.New("the expression is not understood")

// expand replaces the ${{ }} in text.
func (v scope) expand(text string, st status) (string, error) {
	var b strings.Builder
	for {
		before, rest, found := strings.Cut(text, "${{")
		b.WriteString(before)
		if !found {
			return b.String(), nil
		}
		inner, after, closed := strings.Cut(rest, "}}")
		if !closed {
			return "", fmt.Errorf("%q: %w", text, errExpression)
		}
		value, err := v.eval(inner, st)
		if err != nil {
			return "", err
		}
		b.WriteString(value)
		text = after
	}
}

// condition decides an `if:`. Without a status function it is also success().
func (v scope) condition(text string, st status) (bool, error) {
	text = strings.TrimSpace(text)
	inner := text
	if strings.HasPrefix(text, "${{") && strings.HasSuffix(text, "}}") {
		inner = text[3 : len(text)-2]
	}
	if inner == "" {
		inner = "success()"
	}
	value, err := v.eval(inner, st)
	if err != nil {
		return false, err
	}
	asks := false
	for _, fn := range []string{"always(", "success(", "failure(", "cancelled("} {
		asks = asks || strings.Contains(inner, fn)
	}
	return truthy(value) && (asks || !st.failed && !st.cancelled), nil
}

func truthy(v string) bool { return v != "" && v != "false" && v != "0" }

// eval evaluates one expression. Everything is a string, as in the shell that it
// ends up in; comparing ignores case, as GitHub does.
func (v scope) eval(text string, st status) (string, error) {
	if len(text) > maxExpression {
		return "", fmt.Errorf("%.40q…: %w", text, errExpression)
	}
	p := &expression{text: text, scope: v, st: st}
	value := p.or()
	if p.space(); p.at < len(p.text) {
		p.bad = true
	}
	if p.bad {
		return "", fmt.Errorf("%q: %w", text, errExpression)
	}
	return value, nil
}

type expression struct {
	text  string
	at    int
	depth int
	bad   bool
	scope scope
	st    status
}

func (p *expression) space() {
	for p.at < len(p.text) && strings.ContainsRune(" \t\r\n", rune(p.text[p.at])) {
		p.at++
	}
}

func (p *expression) accept(token string) bool {
	p.space()
	if !strings.HasPrefix(p.text[p.at:], token) {
		return false
	}
	p.at += len(token)
	return true
}

func (p *expression) or() string {
	left := p.and()
	for p.accept("||") {
		if right := p.and(); !truthy(left) {
			left = right
		}
	}
	return left
}

func (p *expression) and() string {
	left := p.comparison()
	for p.accept("&&") {
		if right := p.comparison(); truthy(left) {
			left = right
		}
	}
	return left
}

func (p *expression) comparison() string {
	left := p.unary()
	switch {
	case p.accept("=="):
		return strconv.FormatBool(strings.EqualFold(left, p.unary()))
	case p.accept("!="):
		return strconv.FormatBool(!strings.EqualFold(left, p.unary()))
	}
	for _, op := range []string{"<=", ">=", "<", ">"} {
		if p.accept(op) {
			a, err := strconv.ParseFloat(left, 64)
			b, err2 := strconv.ParseFloat(p.unary(), 64)
			if err != nil || err2 != nil {
				return "false"
			}
			c := cmp.Compare(a, b)
			return strconv.FormatBool(c < 0 && op[0] == '<' || c > 0 && op[0] == '>' || c == 0 && len(op) == 2)
		}
	}
	return left
}

func (p *expression) unary() string {
	if p.depth++; p.depth > 64 {
		p.bad = true
		return ""
	}
	defer func() { p.depth-- }()
	p.space()
	switch {
	case p.at >= len(p.text):
		p.bad = true
		return ""
	case strings.HasPrefix(p.text[p.at:], "!") && !strings.HasPrefix(p.text[p.at:], "!="):
		p.at++
		return strconv.FormatBool(!truthy(p.unary()))
	case p.accept("("):
		value := p.or()
		p.bad = p.bad || !p.accept(")")
		return value
	case p.text[p.at] == '\'':
		return p.quoted()
	}
	return p.name()
}

func (p *expression) quoted() string {
	var b strings.Builder
	for p.at++; p.at < len(p.text); p.at++ {
		if p.text[p.at] != '\'' {
			b.WriteByte(p.text[p.at])
			continue
		}
		if p.at++; p.at < len(p.text) && p.text[p.at] == '\'' {
			b.WriteByte('\'') // '' is a quote
			continue
		}
		return b.String()
	}
	p.bad = true
	return ""
}

func (p *expression) name() string {
	start := p.at
	for p.at < len(p.text) && (strings.ContainsRune("._-*", rune(p.text[p.at])) || p.text[p.at] >= '0' && p.text[p.at] <= '9' ||
		p.text[p.at] >= 'a' && p.text[p.at] <= 'z' || p.text[p.at] >= 'A' && p.text[p.at] <= 'Z') {
		p.at++
	}
	name := p.text[start:p.at]
	if name == "" {
		p.bad = true
		return ""
	}
	if p.accept("(") {
		return p.call(name)
	}
	for p.accept("[") {
		name += "." + p.or()
		p.bad = p.bad || !p.accept("]")
	}
	if name == "true" || name == "false" || name[0] >= '0' && name[0] <= '9' || name[0] == '-' {
		return name
	}
	if name == "null" {
		return ""
	}
	return p.scope[name]
}

func (p *expression) call(name string) string {
	var args []string
	for !p.accept(")") {
		if len(args) > 0 && !p.accept(",") || p.bad {
			p.bad = true
			return ""
		}
		args = append(args, p.or())
	}
	want := map[string]int{"always": 0, "success": 0, "failure": 0, "cancelled": 0, "contains": 2, "startsWith": 2, "endsWith": 2}
	if n, known := want[name]; known && n != len(args) {
		p.bad = true
		return ""
	}
	switch name {
	case "always":
		return "true"
	case "success":
		return strconv.FormatBool(!p.st.failed && !p.st.cancelled)
	case "failure":
		return strconv.FormatBool(p.st.failed)
	case "cancelled":
		return strconv.FormatBool(p.st.cancelled)
	case "contains":
		return strconv.FormatBool(strings.Contains(strings.ToLower(args[0]), strings.ToLower(args[1])))
	case "startsWith":
		return strconv.FormatBool(strings.HasPrefix(strings.ToLower(args[0]), strings.ToLower(args[1])))
	case "endsWith":
		return strconv.FormatBool(strings.HasSuffix(strings.ToLower(args[0]), strings.ToLower(args[1])))
	case "hashFiles":
		return "0000"
	}
	p.bad = true
	return ""
}
