package rules

import "github.com/mlops-bot/mlops-bot/shared/domain"

func protobufIncompatible() *Rule {
	return &Rule{
		ID: "protobuf-incompatible", Category: "protobuf-incompatible",
		Title:    "Generated code and the protobuf runtime do not fit",
		Severity: High, Remedy: domain.RemedyFix, Rank: RankFit + 6,
		FactNames: []string{"package"},
		Patterns: patterns(
			exc+`TypeError: Descriptors cannot (?:not )?be created directly`,
			`VersionError: Detected incompatible Protobuf Gencode/Runtime versions`,
			exc+`ImportError: cannot import name '(?:runtime_version|builder|service|descriptor_pb2)' from 'google\.protobuf`,
			exc+`AttributeError: '(?:MessageFactory|FieldDescriptor|google\.protobuf[\w.]+)' object has no attribute '(?:GetPrototype|CreatePrototype|label|GetMessages)'`,
		),
		Keys: []string{"package"},
		Refine: func(w *Window, m *Match) bool {
			m.Facts["package"] = "protobuf"
			return true
		},
	}
}
