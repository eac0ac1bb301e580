package logs

import (
	"bytes"
	"io"

	"golang.org/x/text/encoding/unicode"
	"golang.org/x/text/transform"
)

// sniffLen is how much of the input decides its encoding.
const sniffLen = 1024

// decode returns a reader of UTF-8 (or of bytes that claim to be) for a log in
// UTF-8 or UTF-16 with or without a byte order mark. Only the encoding is
// changed: invalid bytes of a UTF-8 log pass through.
func decode(r io.Reader) (io.Reader, error) {
	head := make([]byte, sniffLen)
	n, err := io.ReadFull(r, head)
	head = head[:n]
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		return nil, err
	}
	whole := io.MultiReader(bytes.NewReader(head), r)
	switch {
	case bytes.HasPrefix(head, []byte{0xff, 0xfe}):
		return fromUTF16(whole, unicode.LittleEndian, unicode.ExpectBOM), nil
	case bytes.HasPrefix(head, []byte{0xfe, 0xff}):
		return fromUTF16(whole, unicode.BigEndian, unicode.ExpectBOM), nil
	}
	// Without a mark, text in UTF-16 shows as a NUL in every other byte, since
	// logs are mostly ASCII.
	var nul [2]int
	for i, b := range head {
		if b == 0 {
			nul[i&1]++
		}
	}
	half := len(head) / 2
	switch {
	case half >= 4 && nul[1] > half*3/4 && nul[0] < half/8+1:
		return fromUTF16(whole, unicode.LittleEndian, unicode.IgnoreBOM), nil
	case half >= 4 && nul[0] > half*3/4 && nul[1] < half/8+1:
		return fromUTF16(whole, unicode.BigEndian, unicode.IgnoreBOM), nil
	}
	return whole, nil
}

func fromUTF16(r io.Reader, e unicode.Endianness, b unicode.BOMPolicy) io.Reader {
	return transform.NewReader(r, unicode.UTF16(e, b).NewDecoder())
}
