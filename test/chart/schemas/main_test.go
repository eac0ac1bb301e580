package main

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestStrict(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ in, want string }{
		"closes what names its fields": {
			`{"type":"object","description":"x","properties":{"description":{"type":"string","default":"x"}}}`,
			`{"type":"object","additionalProperties":false,"properties":{"description":{"type":"string"}}}`,
		},
		"leaves maps": {
			`{"type":"object","additionalProperties":{"type":"string","format":"byte"}}`,
			`{"type":"object","additionalProperties":{"type":"string"}}`,
		},
		"leaves what takes any field": {
			`{"type":"object","x-kubernetes-preserve-unknown-fields":true,"properties":{"a":{"type":"string"}}}`,
			`{"type":"object","properties":{"a":{"type":"string"}}}`,
		},
		"closes the items of lists": {
			`{"type":"array","items":{"type":"object","properties":{"a":{"type":"integer"}}}}`,
			`{"type":"array","items":{"type":"object","additionalProperties":false,"properties":{"a":{"type":"integer"}}}}`,
		},
		"takes numbers and texts for either": {
			`{"type":"object","properties":{"port":{"x-kubernetes-int-or-string":true},"other":{"type":"string","format":"int-or-string"}}}`,
			`{"type":"object","additionalProperties":false,"properties":{"port":{"type":["integer","string"]},"other":{"type":["integer","string"]}}}`,
		},
		"takes null where it is allowed": {
			`{"type":"string","nullable":true}`,
			`{"type":["string","null"]}`,
		},
		"lets alternatives be silent about other fields": {
			`{"type":"object","properties":{"a":{"type":"string"}},"oneOf":[{"properties":{"a":{"enum":["x"]}}}]}`,
			`{"type":"object","additionalProperties":false,"properties":{"a":{"type":"string"}},"oneOf":[{"properties":{"a":{"enum":["x"]}}}]}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var in, want any
			for text, v := range map[string]*any{test.in: &in, test.want: &want} {
				if err := json.Unmarshal([]byte(text), v); err != nil {
					t.Fatal(err)
				}
			}
			b, err := json.Marshal(strict(in.(map[string]any)))
			if err != nil {
				t.Fatal(err)
			}
			var got any
			if err := json.Unmarshal(b, &got); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
