package rules

import (
	"github.com/mlops-bot/mlops-bot/shared/domain"
)

func databaseSchema() *Rule {
	return &Rule{
		ID: "database-schema", Category: "database-schema",
		Title:    "A table or migration is missing",
		Severity: High, Remedy: domain.RemedyHuman, Rank: RankFit - 1,
		Last:      true,
		FactNames: []string{"table"},
		Patterns: patterns(
			exc+`(?:[\w.()]+ )*(?:[\w.]*(?:Error|UndefinedTable\)?|UndefinedTableError)):? .*relation "(?P<table>[^"]+)" does not exist`,
			exc+`(?:[\w.]*(?:Error|Exception)):? .*no such table: (?P<table>[\w.]+)`,
			`Table '(?P<table>[^']+)' doesn't exist`,
			exc+`(?:[\w.]*Error):? .*no such column: (?P<table>\w+)`,
			`Can't locate revision identified by '`,
			`Target database is not up to date`,
			`Multiple head revisions are present for given argument`,
			`CommandError: Conflicting migrations detected`,
			`Your models (?:in app\(s\): .*)?have changes that are not yet reflected in a migration`,
		),
		Keys: []string{"table"},
	}
}
