package store

import (
	"context"
	"embed"
	"errors"
	"io/fs"
	"time"

	"github.com/pressly/goose/v3"

	"github.com/mlops-bot/mlops-bot/shared/domain"
)

//go:embed migrations/*.sql
var migrations embed.FS

// migrateTimeout bounds a migration, waiting for another process' included.
const migrateTimeout = 5 * time.Minute

// migrateAttempts bounds how often a database without a lock for it is tried
// again when another process migrates at the same time.
const migrateAttempts = 10

// Migrate brings the schema up to date. Several processes may call it at once.
func (s *Store) Migrate(ctx context.Context) error {
	const op = "migrate the database"
	ctx, cancel := context.WithTimeout(ctx, migrateTimeout)
	defer cancel()
	p, err := s.provider()
	if err != nil {
		return s.wrap(op, err)
	}
	if s.dialect.lock == "" {
		// Each migration is a transaction. Of two processes that begin the same one
		// the second fails on what the first made, and finds it done next time.
		for range migrateAttempts {
			if _, err = p.Up(ctx); err == nil || ctx.Err() != nil {
				break
			}
		}
		return s.wrap(op, err)
	}
	c, err := s.write.Conn(ctx)
	if err != nil {
		return s.wrap(op, err)
	}
	if _, err = c.ExecContext(ctx, s.dialect.lock); err == nil {
		_, err = p.Up(ctx)
		// The lock must not stay with a pooled connection, even when ctx has ended.
		release, cancelRelease := context.WithTimeout(context.WithoutCancel(ctx), s.timeout)
		_, unlockErr := c.ExecContext(release, s.dialect.unlock)
		cancelRelease()
		err = errors.Join(err, unlockErr)
	}
	return s.wrap(op, errors.Join(err, c.Close()))
}

// SchemaVersion returns the version that the database is at and the one that
// this program brings; a lower first one means that Migrate is due.
func (s *Store) SchemaVersion(ctx context.Context) (at, latest int64, err error) {
	const op = "read the schema's version"
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	p, err := s.provider()
	if err != nil {
		return 0, 0, s.wrap(op, err)
	}
	at, latest, err = p.GetVersions(ctx)
	return at, latest, s.wrap(op, err)
}

func (s *Store) provider() (*goose.Provider, error) {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return nil, fail(domain.Bug, "open the migrations: %w", err)
	}
	p, err := goose.NewProvider(s.dialect.goose, s.write, files, goose.WithTableName("schema_version"), goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return nil, fail(domain.Bug, "read the migrations: %w", err)
	}
	return p, nil
}
