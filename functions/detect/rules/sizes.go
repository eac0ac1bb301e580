package rules

import (
	"math"
	"strconv"
	"strings"
)

var sizeUnits = map[string]float64{
	"": 1, "b": 1, "byte": 1, "bytes": 1,
	"k": 1 << 10, "kib": 1 << 10, "kb": 1 << 10,
	"m": 1 << 20, "mib": 1 << 20, "mb": 1 << 20,
	"g": 1 << 30, "gib": 1 << 30, "gb": 1 << 30,
	"t": 1 << 40, "tib": 1 << 40, "tb": 1 << 40,
}

// bytesOf turns "1.71 GiB" into bytes; programs that print GB mean GiB here.
func bytesOf(size string) (string, bool) {
	s := strings.ReplaceAll(strings.ToLower(strings.TrimSpace(size)), ",", "")
	i := 0
	for i < len(s) && (s[i] >= '0' && s[i] <= '9' || s[i] == '.') {
		i++
	}
	n, err := strconv.ParseFloat(s[:i], 64)
	unit, ok := sizeUnits[strings.TrimSpace(s[i:])]
	if err != nil || !ok || n < 0 || n*unit > math.MaxInt64/2 {
		return "", false
	}
	return strconv.FormatInt(int64(math.Round(n*unit)), 10), true
}

// sizeFact replaces a fact by its value in bytes, or removes it.
func sizeFact(m *Match, name string) {
	if v, ok := bytesOf(m.Facts[name]); ok {
		m.Facts[name] = v
	} else {
		delete(m.Facts, name)
	}
}
