package notify

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"time"

	"github.com/mlops-bot/mlops-bot/shared/domain"
)

// The JSON webhook's headers.
const (
	// SignatureHeader holds "sha256=" and the hex HMAC-SHA256 of the raw body under
	// the configured secret, as GitHub signs its webhooks.
	SignatureHeader = "X-MLOps-Bot-Signature-256"
	// IdempotencyHeader is equal for all sends of one state of one incident; it is
	// in the body too, where the signature covers it.
	IdempotencyHeader = "Idempotency-Key"
)

// minSecret is the shortest secret that is taken, in bytes.
const minSecret = 16

// schema names the form of the body. Fields may be added to it.
const schema = "mlops-bot.notification.v1"

// webhook posts the message as signed JSON.
type webhook struct {
	name   string
	url    string
	secret []byte
	client *Client
	now    func() time.Time
}

var _ Channel = webhook{}

func newWebhook(s Settings, t Tools) (Channel, error) {
	const op = "set up the JSON webhook"
	if t.Client == nil {
		return nil, domain.Errorf(domain.Bug, op, "it needs the HTTP client")
	}
	if len(s.Secret) < minSecret {
		return nil, domain.Errorf(domain.Invalid, op, "its secret must have at least %d bytes", minSecret)
	}
	if err := t.Client.check(op, s.URL); err != nil {
		return nil, err
	}
	return webhook{s.Name, s.URL, []byte(s.Secret), t.Client, t.Now}, nil
}

func (c webhook) Name() string { return c.name }
func (webhook) Sticky() bool   { return false }

// webhookBody is what is signed. SentAt lets the receiver refuse replays.
type webhookBody struct {
	Schema         string    `json:"schema"`
	IdempotencyKey string    `json:"idempotency_key"`
	SentAt         time.Time `json:"sent_at"`
	Message
}

func (c webhook) Notify(ctx context.Context, m Message, key string) (string, bool, error) {
	body, err := json.Marshal(webhookBody{schema, key, c.now().UTC().Truncate(time.Second), m})
	if err != nil {
		return "", false, domain.Errorf(domain.Bug, "write the webhook's body", "%w", err)
	}
	mac := hmac.New(sha256.New, c.secret)
	mac.Write(body)
	header := http.Header{}
	header.Set(SignatureHeader, "sha256="+hex.EncodeToString(mac.Sum(nil)))
	header.Set(IdempotencyHeader, key)
	if err := c.client.postJSON(ctx, "post to the webhook", c.url, header, body); err != nil {
		return "", false, err
	}
	return "", true, nil
}
