package network

import (
	"crypto/md5"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/url"
	"os"
	"slices"
	"strings"

	"heron/camera"
)

// login is a user and a password. It is never printed: what could print it has no field of this type.
type login struct{ user, password string }

// maxPassword bounds a password file, which may be named by mistake.
const maxPassword = 4 << 10

// credentials takes the password from its file, anew at each opening so that a changed one needs no restart; without a user in the
// configuration those of the URL count. The URL comes back without them.
func credentials(o camera.Options) (login, *url.URL, error) {
	u, err := camera.ParseURL(o.Source)
	if err != nil {
		return login{}, nil, err
	}
	var l login
	if u.User != nil {
		l.user = u.User.Username()
		l.password, _ = u.User.Password()
	}
	u.User = nil
	if o.Username != "" {
		l = login{user: o.Username}
	}
	if o.PasswordFile != "" {
		if l.password, err = readPassword(o.PasswordFile); err != nil {
			return login{}, nil, err
		}
	}
	return l, u, nil
}

func readPassword(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("password file: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxPassword+1))
	if err != nil {
		return "", fmt.Errorf("password file: %w", err)
	}
	password := strings.TrimRight(string(b), "\r\n")
	switch {
	case len(b) > maxPassword || strings.ContainsAny(password, "\r\n\x00"):
		return "", fmt.Errorf("password file %s: expected one line", path)
	case password == "":
		return "", fmt.Errorf("password file %s is empty", path)
	}
	return password, nil
}

// challenge is what a server asks for, of WWW-Authenticate headers of which it may send several.
type challenge struct {
	scheme string // basic or digest
	params map[string]string
}

var errScheme = errors.New("the server wants a way to log in other than Basic and Digest")

// choose takes Digest before Basic: it does not show the password.
func choose(headers []string) (challenge, error) {
	var basic *challenge
	for _, h := range headers {
		scheme, rest, _ := strings.Cut(strings.TrimSpace(h), " ")
		c := challenge{strings.ToLower(scheme), params(rest)}
		switch c.scheme {
		case "digest":
			if c.hash() != nil && c.params["nonce"] != "" && (c.params["qop"] == "" || c.auth()) {
				return c, nil
			}
		case "basic":
			basic = &c
		}
	}
	if basic != nil {
		return *basic, nil
	}
	return challenge{}, errScheme
}

// params reads key=value and key="value", separated by commas.
func params(s string) map[string]string {
	out := map[string]string{}
	for s != "" {
		var key, value string
		key, s, _ = strings.Cut(s, "=")
		if s = strings.TrimLeft(s, " "); strings.HasPrefix(s, `"`) {
			value, s = quoted(s[1:])
			_, s, _ = strings.Cut(s, ",")
		} else {
			value, s, _ = strings.Cut(s, ",")
		}
		out[strings.ToLower(strings.Trim(key, " ,"))] = strings.TrimSpace(value)
	}
	return out
}

func quoted(s string) (value, rest string) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '"':
			return b.String(), s[i+1:]
		case s[i] == '\\' && i+1 < len(s):
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String(), ""
}

func (c challenge) hash() func() hash.Hash {
	switch strings.TrimSuffix(strings.ToUpper(c.params["algorithm"]), "-SESS") {
	case "", "MD5":
		return md5.New // RFC 7616 has it, and cameras have nothing else
	case "SHA-256":
		return sha256.New
	}
	return nil
}

// auth says whether the server takes quality of protection auth, the one that is spoken here.
func (c challenge) auth() bool {
	return slices.ContainsFunc(strings.Split(c.params["qop"], ","), func(q string) bool { return strings.TrimSpace(strings.ToLower(q)) == "auth" })
}

// answer is the Authorization header for a request; count numbers the requests with this challenge's nonce, from 1.
func (c challenge) answer(l login, method, uri string, count int) string {
	if c.scheme == "basic" {
		return "Basic " + base64.StdEncoding.EncodeToString([]byte(l.user+":"+l.password))
	}
	return c.digest(l, method, uri, count, rand.Text())
}

// digest is RFC 7616 (and, without qop, RFC 2069).
func (c challenge) digest(l login, method, uri string, count int, cnonce string) string {
	h := func(parts ...string) string {
		sum := c.hash()()
		io.WriteString(sum, strings.Join(parts, ":")) // a hash takes everything
		return hex.EncodeToString(sum.Sum(nil))
	}
	p := c.params
	ha1, ha2 := h(l.user, p["realm"], l.password), h(method, uri)
	if strings.HasSuffix(strings.ToUpper(p["algorithm"]), "-SESS") {
		ha1 = h(ha1, p["nonce"], cnonce)
	}
	var b strings.Builder
	fmt.Fprintf(&b, `Digest username=%s, realm=%s, nonce=%s, uri=%s`, quote(l.user), quote(p["realm"]), quote(p["nonce"]), quote(uri))
	if c.auth() {
		nc := fmt.Sprintf("%08x", count)
		fmt.Fprintf(&b, `, qop=auth, nc=%s, cnonce="%s", response="%s"`, nc, cnonce, h(ha1, p["nonce"], nc, cnonce, "auth", ha2))
	} else {
		fmt.Fprintf(&b, `, response="%s"`, h(ha1, p["nonce"], ha2))
	}
	if p["algorithm"] != "" {
		fmt.Fprintf(&b, ", algorithm=%s", strings.Map(token, p["algorithm"]))
	}
	if p["opaque"] != "" {
		fmt.Fprintf(&b, ", opaque=%s", quote(p["opaque"]))
	}
	return b.String()
}

func token(r rune) rune {
	if r == '-' || r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z' {
		return r
	}
	return -1
}

// quote makes a quoted string; what would end a header's line is left out.
func quote(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return -1
		}
		return r
	}, s)
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}
