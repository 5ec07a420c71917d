package cloudinit

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/textproto"
	"regexp"
	"strings"
	"unicode/utf8"
)

// boundaries are those of RFC 2046, which every parser takes for the same.
var boundaries = regexp.MustCompile(`^[0-9A-Za-z'()+_,./:=? -]{0,69}[0-9A-Za-z'()+_,./:=?-]$`)

var (
	errText     = errors.New("the MIME message is not text as cloud-init reads it: UTF-8 without carriage returns inside of lines is accepted")
	errHeaders  = errors.New("the headers of the MIME message could not be read: one Content-Type, and a blank line after them are accepted")
	errType     = errors.New("the Content-Type of the MIME message is not handled: text, application, and multipart with a boundary of RFC 2046 are accepted")
	errParts    = errors.New("the MIME message has no parts, or no end: parts between delimiter lines, and a closing one after them are accepted")
	errTwoReads = errors.New("the parts of the MIME message could not be shown to be the same for every reader")
	errUnseen   = errors.New("the MIME message would no longer be seen as one: MIME-Version among its headers is accepted")
	errNested   = errors.New("our part stands in the MIME message where it cannot be replaced")
)

// message is multipart user data, cut at the delimiter lines of its outermost boundary. Put together, the pieces are what was
// read; what is nested is not looked into.
type message struct {
	head      []byte   // headers and preamble
	parts     [][]byte // each from its delimiter line on
	tail      []byte   // closing delimiter line and epilogue
	delimiter string
	eol       string
	read      []part // the parts as mime/multipart reads them
}

// part is one part as mime/multipart reads it, its body undecoded.
type part struct {
	header textproto.MIMEHeader
	body   []byte
}

// headers reads what stands before the first blank line, and tells where the body starts.
func headers(data []byte) (mediaType, boundary string, body int, err error) {
	end := blankLine.FindIndex(data)
	if end == nil {
		return "", "", 0, errHeaders
	}
	h, err := textproto.NewReader(bufio.NewReader(bytes.NewReader(data[:end[1]]))).ReadMIMEHeader()
	if err != nil || len(h["Content-Type"]) != 1 {
		return "", "", 0, errHeaders
	}
	mediaType, params, err := mime.ParseMediaType(h.Get("Content-Type"))
	if err != nil {
		return "", "", 0, errType
	}
	return mediaType, params["boundary"], end[1], nil
}

var blankLine = regexp.MustCompile(`\n\r?\n`)

// checkText refuses what Python's parser, which reads text, would not read, or would cut at other places.
func checkText(data []byte) error {
	if !utf8.Valid(data) || loneReturns(data) {
		return errText
	}
	return nil
}

func readMessage(data []byte) (*message, error) {
	mediaType, boundary, body, err := headers(data)
	if err != nil {
		return nil, err
	}
	if !strings.HasPrefix(mediaType, "multipart/") || !boundaries.MatchString(boundary) {
		return nil, errType
	}
	m := &message{delimiter: "--" + boundary}
	if err := m.cut(data, body); err != nil {
		return nil, err
	}
	return m, m.parse(data[body:], boundary)
}

// cut finds the delimiter lines from an offset on, by the rule of Python's parser.
func (m *message) cut(data []byte, from int) error {
	m.head = data
	last := -1
	for at := from; at < len(data); {
		end := len(data)
		if n := bytes.IndexByte(data[at:], '\n'); n >= 0 {
			end = at + n + 1
		}
		rest, ok := bytes.CutPrefix(data[at:end], []byte(m.delimiter))
		rest, closing := bytes.CutPrefix(rest, []byte("--"))
		if ok && len(bytes.Trim(rest, " \t\r\n")) == 0 {
			if last < 0 {
				m.head, m.eol = data[:at], "\n"
				if bytes.HasSuffix(data[at:end], []byte("\r\n")) {
					m.eol = "\r\n"
				}
			} else {
				m.parts = append(m.parts, data[last:at])
			}
			if last = at; closing {
				m.tail = data[at:]
				break
			}
		}
		at = end
	}
	if m.tail == nil || len(m.parts) == 0 {
		return errParts
	}
	return nil
}

// parse reads the parts with another parser, which must find as many.
func (m *message) parse(body []byte, boundary string) error {
	r := multipart.NewReader(bytes.NewReader(body), boundary)
	for {
		p, err := r.NextRawPart()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return errParts
		}
		body, err := io.ReadAll(p)
		if err != nil {
			return errParts
		}
		m.read = append(m.read, part{header: p.Header, body: body})
	}
	if len(m.read) != len(m.parts) {
		return errTwoReads
	}
	return nil
}
