// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package filter

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
)

var opt = Options{MaxBytes: 1 << 20, Model: "m", EngineModel: "engine-m", MaxTokens: 4096, MaxChoices: 8, Salt: "SALT"}

func run(in string, o Options) (string, Result, error) {
	var out bytes.Buffer
	res, err := Copy(&out, strings.NewReader(in), o)
	return out.String(), res, err
}

func codeOf(t testing.TB, err error) Code {
	t.Helper()
	var r *Refusal
	if !errors.As(err, &r) {
		t.Fatalf("error %v is no refusal", err)
	}
	return r.Code
}

func TestCopyRewritesOnlyItsOwnMembers(t *testing.T) {
	tests := []struct{ name, in, want string }{
		{"model replaced in place", `{"a":1,"model":"m","z":[]}`, `{"a":1,"model":"engine-m","z":[],"cache_salt":"SALT"}`},
		{"appended to an empty object", ` { } `, ` { "model":"engine-m","cache_salt":"SALT"}`},
		{"own salt overwritten in place", `{"cache_salt":"mine","model":"m"}`, `{"cache_salt":"SALT","model":"engine-m"}`},
		{"own salt of any type", `{"cache_salt":{"x":[1,{"y":null}]},"model":"m"}`, `{"cache_salt":"SALT","model":"engine-m"}`},
		{"escaped name is the same name", `{"cache_s\u0061lt":"mine"}`, `{"cache_s\u0061lt":"SALT","model":"engine-m"}`},
		{"unknown members, order, spelling and white space pass", "{\"zz\" :\t1.50e1 ,\"yy\":[ true,null ] , \"model\":\"m\"}\n",
			"{\"zz\" :\t1.50e1 ,\"yy\":[ true,null ] , \"model\":\"engine-m\",\"cache_salt\":\"SALT\"}"},
		{"text that looks like an address", `{"messages":[{"role":"user","content":"see http://x/ file:///etc"}],"model":"m"}`,
			`{"messages":[{"role":"user","content":"see http://x/ file:///etc"}],"model":"engine-m","cache_salt":"SALT"}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, _, err := run(tt.in, opt)
			if err != nil || got != tt.want {
				t.Errorf("got %s, %v\nwant %s", got, err, tt.want)
			}
			// The same a byte at a time: no decision may hang on how bytes arrive.
			var slow bytes.Buffer
			if _, err := Copy(&slow, iotest.OneByteReader(strings.NewReader(tt.in)), opt); err != nil || slow.String() != tt.want {
				t.Errorf("byte by byte: got %s, %v", slow.String(), err)
			}
		})
	}
}

func TestCopySetsMembersOfTheEngine(t *testing.T) {
	o := opt
	o.Set = []Member{{"cache_prompt", "false"}}
	for _, in := range []string{`{"model":"m"}`, `{"cache_prompt":true}`} {
		out, _, err := run(in, o)
		if err != nil || !strings.Contains(out, `"cache_prompt":false`) || strings.Contains(out, "true") {
			t.Errorf("%s became %s, %v", in, out, err)
		}
	}
	if _, _, err := run(`{"Cache_Prompt":true}`, o); err == nil {
		t.Error("another spelling of a member of the node's passed")
	}
}

func TestCopyReportsStream(t *testing.T) {
	for in, want := range map[string]bool{`{"stream":true}`: true, `{"stream":false}`: false, `{}`: false, `{"x":{"stream":true}}`: false} {
		if _, res, err := run(in, opt); err != nil || res.Stream != want {
			t.Errorf("%s: %v, %v", in, res.Stream, err)
		}
	}
}

func TestCopyPassesHonestRequests(t *testing.T) {
	for _, in := range []string{
		`{"messages":[{"role":"user","content":[{"type":"text","text":"hi"},{"type":"image_url","image_url":{"url":"data:image/png;base64,AAAA","detail":"low"}}]}],"temperature":0.2,"max_tokens":4096,"n":8,"stop":["a","b"],"seed":-5,"stream":true,"stream_options":{"include_usage":true}}`,
		`{"prompt":"abc","max_tokens":null,"logprobs":5,"echo":false,"stop":"x"}`,
		`{"prompt":[` + strings.Repeat("1,", 9000) + `1]}`,
		`{"input":["a","b"],"dimensions":256,"encoding_format":"float"}`,
		`{"messages":[{"role":"user","content":"x"}],"tools":[{"type":"function","function":{"name":"f","description":"see http://x","parameters":{"type":"object","properties":{"image_url":{"type":"string","default":"http://x/","pattern":"^[a-z]{1,32}$"},"$ref":{"type":"string"},"pattern":{"type":"integer","maximum":1e300},"url":{"$ref":"#/$defs/u"}},"$defs":{"u":{"type":"string","maxLength":2048}},"required":["url"],"enum":[{"pattern":"(("}],"additionalProperties":false}}}],"tool_choice":{"type":"function","function":{"name":"f"}}}`,
		`{"response_format":{"type":"json_schema","json_schema":{"name":"n","strict":true,"schema":{"$schema":"http://json-schema.org/draft-07/schema#","type":"object"}}}}`,
		`{"chat_template_kwargs":{"enable_thinking":false}}`,
		`{"logit_bias":{"50256":-100,"1":1.5}}`,
		`{"messages":[{"role":"assistant","content":null,"tool_calls":[{"id":"x","type":"function","function":{"name":"f","arguments":"{\"url\":\"http://x\"}"}}]}]}`,
		`{"audio":{"voice":"alloy","format":"mp3"},"modalities":["text"]}`,
	} {
		out, _, err := run(in, opt)
		if err != nil {
			t.Errorf("%v: %s", err, in)
		} else if !json.Valid([]byte(out)) {
			t.Errorf("not JSON: %s", out)
		}
	}
}

func nested(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }

func TestCopyRefuses(t *testing.T) {
	deep := strings.Repeat(`{"not":`, 40) + "{}" + strings.Repeat("}", 40)
	tests := []struct {
		code Code
		in   []string
	}{
		{Syntax, []string{``, ` `, `{`, `[]`, `"x"`, `null`, `{"a"}`, `{"a":}`, `{"a":1,}`, `{,}`, `{"a":1 "b":2}`, `{"a":[1,]}`, `{"a":[1 2]}`,
			`{"a":1}x`, `{"a":1}{}`, "\ufeff{}", `{'a':1}`, `{a:1}`, `{"a":tru}`, `{"a":NaN}`, `{"a":Infinity}`, `{"a":-Infinity}`, `{"a":+1}`, `{"a":01}`, `{"a":1.}`, `{"a":.5}`,
			`{"a":1e}`, `{"a":-}`, `{"a":0x10}`, "{\"a\":\"\n\"}", `{"a":"\x"}`, `{"a":"\u12g4"}`, `{"a":"x`, `{"a":1]`, `{"a":[1}`, `{/**/}`}},
		{UTF8, []string{"{\"a\":\"\xff\"}", "{\"\xc3\":1}", "{\"a\":\"\xed\xa0\x80\"}", "{\"a\":\"\xc0\x80\"}", `{"a":"\ud800"}`, `{"a":"\udc00"}`, `{"a":"\ud800\ud800"}`, `{"a":"\ud800x"}`, "{\"a\":\"\xf0\x9f"}},
		{Duplicate, []string{`{"a":1,"a":1}`, `{"a":1,"\u0061":1}`, `{"x":{"b":1,"c":{"b":1},"b":2}}`, `{"x":[{"b":1,"b":1}]}`, `{"model":"m","model":"m"}`, `{"cache_salt":1,"cache_salt":2}`, `{"":1,"":2}`}},
		{Depth, []string{`{"a":` + nested(64) + `}`}},
		{Size, []string{`{"` + strings.Repeat("a", maxName+1) + `":1}`}},
		{Number, []string{`{"a":1e999}`, `{"a":-1e999}`, `{"a":1` + strings.Repeat("0", maxNumber) + `}`, `{"a":0.` + strings.Repeat("1", maxNumber) + `}`}},
		{Model, []string{`{"model":"gpt-4"}`, `{"model":"mm"}`, `{"model":""}`, `{"model":null}`, `{"model":"` + strings.Repeat("m", 5000) + `"}`}},
		{Range, []string{`{"model":1}`, `{"model":["m"]}`, `{"model":{"m":1}}`, `{"model":true}`,
			`{"temperature":"NaN"}`, `{"temperature":"nan"}`, `{"temperature":1e9}`, `{"temperature":[1]}`, `{"temperature":true}`, `{"n":9}`, `{"n":0}`, `{"n":1.0}`, `{"n":-1}`, `{"n":"1"}`, `{"best_of":100}`,
			`{"max_tokens":4097}`, `{"max_tokens":-1}`, `{"max_completion_tokens":99999999}`, `{"n_predict":-1}`, `{"min_tokens":5000}`, `{"top_logprobs":101}`, `{"logprobs":1000}`, `{"stream":"true"}`, `{"stream":1}`,
			`{"logit_bias":{"1":1e30}}`, `{"logit_bias":{"1":101}}`, `{"logit_bias":{"x":1}}`, `{"logit_bias":[[1,2]]}`, `{"logit_bias":{"12345678901":1}}`, `{"logit_bias":{"1":"a"}}`, `{"logit_bias":{"1":true}}`, `{"logit_bias":{"1":{}}}`, `{"logit_bias":"x"}`,
			`{"stop":[` + strings.Repeat(`"a",`, 64) + `"a"]}`, `{"stop":"` + strings.Repeat("a", 1025) + `"}`, `{"prompt":[` + strings.Repeat(`"a",`, 2048) + `"a"]}`,
			`{"guided_json":"{}"}`, `{"messages":"x"}`, `{"messages":["x"]}`, `{"structured_outputs":{"json":"{}"}}`, `{"tools":["{}"]}`, `{"chat_template_kwargs":"{}"}`}},
		{URL, []string{
			`{"messages":[{"content":[{"type":"image_url","image_url":{"url":"http://169.254.169.254/x"}}]}]}`,
			`{"messages":[{"content":[{"type":"image_url","image_url":{"url":"https://x/"}}]}]}`,
			`{"messages":[{"content":[{"type":"image_url","image_url":{"url":"file:///etc/passwd"}}]}]}`,
			`{"messages":[{"content":[{"type":"image_url","image_url":"http://x"}]}]}`,
			`{"messages":[{"content":[{"type":"image_url","Image_URL":{"URL":"http://x"}}]}]}`,
			`{"messages":[{"content":[{"type":"image_url","image_url":{"url":"/etc/passwd"}}]}]}`,
			`{"messages":[{"content":[{"type":"image_url","image_url":{"url":" data:x"}}]}]}`,
			`{"messages":[{"content":[{"type":"image_url","image_url":{"\u0075rl":"h\u0074tp://x"}}]}]}`,
			`{"messages":[{"content":[{"image_url":[{"url":"ftp://x"}]}]}]}`,
			`{"messages":[{"content":[{"type":"video_url","video_url":{"url":"http://x"}},{"type":"audio_url"}]}]}`,
			`{"input":[{"image":"http://x"}]}`, `{"images":["http://x"]}`, `{"file_url":"http://x"}`, `{"image_url":{"u":{"url":"gopher://x"}}}`,
			"{\"image_\u017f\":1,\"image\u017f\":\"http://x\"}"}},
		{Schema, []string{
			`{"tools":[{"function":{"parameters":` + deep + `}}]}`, `{"guided_json":` + deep + `}`,
			`{"response_format":{"json_schema":{"schema":{"$ref":"http://x/s.json"}}}}`, `{"guided_json":{"$ref":"file:///etc/passwd"}}`,
			`{"guided_json":{"pattern":"(a{1,999}){1,999}"}}`, `{"guided_regex":"((a{1,500}){1,500})"}`, `{"guided_regex":"` + strings.Repeat("a", maxRegex+1) + `"}`, `{"guided_regex":"(?=a)"}`,
			`{"guided_json":{"patternProperties":{"(x{999}){999}":{}}}}`, `{"guided_json":{"properties":{"default":{"pattern":"(x{999}){999}"}}}}`,
			`{"grammar":"` + strings.Repeat("a", maxGrammar+1) + `"}`}},
		{Range, []string{`{"guided_json":{"maxItems":1e9}}`, `{"guided_json":{"minLength":70000}}`}},
	}
	for _, tt := range tests {
		for _, in := range tt.in {
			out, _, err := run(in, opt)
			if err == nil {
				t.Errorf("%s: accepted %.120q", tt.code, in)
				continue
			}
			if got := codeOf(t, err); got != tt.code {
				t.Errorf("got %s, want %s: %.120q", got, tt.code, in)
			}
			if json.Valid([]byte(out)) {
				t.Errorf("refused, but what was passed on is a whole document: %.120q", out)
			}
		}
	}
}

// TestRefusesMembersThatReachPastTheRequest is TN-07, TN-08 and TN-10: names by
// which a request would address the engine rather than the model.
func TestRefusesMembersThatReachPastTheRequest(t *testing.T) {
	n := 0
	for name, r := range known {
		if r.check != refuse || name == "cache_salt" {
			continue
		}
		n++
		for _, in := range []string{name, strings.ToUpper(name[:1]) + name[1:]} {
			_, _, err := run(fmt.Sprintf(`{"x":1,%q:null}`, in), opt)
			if err == nil || codeOf(t, err) != Refused {
				t.Errorf("%s: %v", in, err)
			}
		}
	}
	if n < 20 {
		t.Errorf("only %d names are refused", n)
	}
	for _, in := range []string{
		`{"Model":"m"}`, `{"MAX_TOKENS":1e9}`, `{"CACHE_SALT":"x"}`, "{\"me\u017f\u017fages\":[]}",
		`{"chat_template_kwargs":{"chat_template":"{{x}}"}}`, `{"chat_template_kwargs":{"tokenize":true}}`,
		`{"messages":[{"content":[{"type":"image_url","uuid":"another's"}]}]}`,
		`{"messages":[{"content":[{"type":"image_embeds","image_embeds":"gASV"}]}]}`,
		`{"structured_outputs":{"regex":"a","backend":"x"}}`,
	} {
		if _, _, err := run(in, opt); err == nil || codeOf(t, err) != Refused {
			t.Errorf("%s: %v", in, err)
		}
	}
}

func TestBoundaries(t *testing.T) {
	ok := func(name, in string, o Options) {
		t.Helper()
		if _, _, err := run(in, o); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	no := func(name, in string, o Options) {
		t.Helper()
		if _, _, err := run(in, o); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	o := opt
	o.MaxBytes = 20
	ok("n-1", `{"a":"`+strings.Repeat("x", 11)+`"}`, o)
	ok("n", `{"a":"`+strings.Repeat("x", 12)+`"}`, o)
	no("n+1", `{"a":"`+strings.Repeat("x", 13)+`"}`, o)
	no("n+1 of white space", `{"a":"`+strings.Repeat("x", 12)+`"} `, o)
	ok("depth n", `{"a":`+nested(maxDepth-1)+`}`, opt)
	no("depth n+1", `{"a":`+nested(maxDepth)+`}`, opt)
	members := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, `,"%d":0`, i)
		}
		return `{"x":{` + b.String()[1:] + `}}`
	}
	for _, n := range []int{31, 32, 33, 34, maxMembers - 1} {
		ok(fmt.Sprint("members ", n), members(n), opt)
		no(fmt.Sprint("duplicate after members ", n), strings.Replace(members(n), "}}", `,"0":0}}`, 1), opt)
		no(fmt.Sprint("late duplicate after members ", n), strings.Replace(members(n), "}}", fmt.Sprintf(`,"%d":0}}`, n-1), 1), opt)
	}
	no("members n+1", members(maxMembers), opt)
	ok("many siblings free their names", `{"a":[`+strings.Repeat(`{"b":1,"c":2},`, 20000)+`1]}`, opt)
	no("the zero options", `{}`, Options{})
	ok("name n", `{"`+strings.Repeat("a", maxName)+`":1}`, opt)
}

// failing returns err after data.
type failing struct {
	data io.Reader
	err  error
}

func (f failing) Read(p []byte) (int, error) {
	n, err := f.data.Read(p)
	if err == io.EOF {
		err = f.err
	}
	return n, err
}

// TestTruncatedSourceIsNeverWhole cuts a request at every offset: the source's
// own error comes back (the seal's verdict), and the engine never holds a
// document that parses.
func TestTruncatedSourceIsNeverWhole(t *testing.T) {
	in := `{"messages":[{"role":"user","content":"aé\u00e9\ud83d\ude00b"}],"n":1,"model":"m"} `
	cut := errors.New("cut")
	for i := range len(in) + 1 {
		var out bytes.Buffer
		_, err := Copy(&out, failing{strings.NewReader(in[:i]), cut}, opt)
		if err != cut {
			t.Errorf("cut at %d: %v", i, err)
		}
		if json.Valid(out.Bytes()) {
			t.Errorf("cut at %d: engine holds %s", i, out.String())
		}
	}
}

type full struct{}

func (full) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

func TestSinkErrorIsNamed(t *testing.T) {
	var se *SinkError
	for _, n := range []int{1, 100_000} {
		_, err := Copy(full{}, strings.NewReader(`{"a":"`+strings.Repeat("x", n)+`"}`), opt)
		if !errors.As(err, &se) || !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
}

// pattern is an endless reader of a member's text.
type pattern struct{ left int }

func (p *pattern) Read(b []byte) (int, error) {
	n := min(len(b), p.left)
	for i := range b[:n] {
		b[i] = 'a'
	}
	if p.left -= n; p.left == 0 {
		return n, io.EOF
	}
	return n, nil
}

func TestMemoryIsConstant(t *testing.T) {
	o := opt
	o.MaxBytes = 1 << 30
	grow := func(n int) uint64 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		src := io.MultiReader(strings.NewReader(`{"messages":[{"role":"user","content":"`), &pattern{n}, strings.NewReader(`"}]}`))
		if _, err := Copy(io.Discard, src, o); err != nil {
			t.Fatal(err)
		}
		runtime.ReadMemStats(&after)
		return after.TotalAlloc - before.TotalAlloc
	}
	small, large := grow(1<<20), grow(64<<20)
	if large > small+64<<10 {
		t.Errorf("a request of 1 MiB allocated %d bytes, one of 64 MiB %d", small, large)
	}
}

func TestRefusalsHoldNothingOfTheRequest(t *testing.T) {
	const canary = "canary5717"
	for _, in := range []string{
		`{"` + canary + `":1,"` + canary + `":2}`, `{"model":"` + canary + `"}`, `{"messages":[{"image_url":"http://` + canary + `"}]}`,
		`{"temperature":"` + canary + `"}`, `{"x":` + canary + `}`, `{"guided_regex":"(` + canary + `"}`, `{"tools":[{"$ref":"` + canary + `"}]}`,
	} {
		_, _, err := run(in, opt)
		if err == nil || strings.Contains(fmt.Sprintf("%v %+v %#v", err, err, err), canary) {
			t.Errorf("%v", err)
		}
	}
}

func TestSalts(t *testing.T) {
	t.Run("TN-02", func(t *testing.T) {
		seen := map[string]bool{}
		for i := range 256 {
			// The same randomness twice, as after a restored snapshot.
			s := FreshSalt([32]byte{1}, [32]byte{byte(i)})
			if seen[s] || len(s) != 43 {
				t.Fatalf("salt %q", s)
			}
			seen[s] = true
		}
	})
	a, b := ConversationSalt([]byte("0123456789abcdef")), ConversationSalt([]byte("0123456789abcdeg"))
	if a == b || a != ConversationSalt([]byte("0123456789abcdef")) || seenIn(a, "0123456789abcdef") {
		t.Errorf("salts %q %q", a, b)
	}
}

func seenIn(salt, secret string) bool { return strings.Contains(salt, secret) }

var seeds = []string{
	`{"a":1}`, `{}`, `{"model":"m","messages":[{"role":"user","content":"x\u00e9\ud83d\ude00"}],"n":1}`, `{"cache_salt":[{}]}`, `{"a":1,"a":2}`,
	`{"tools":[{"function":{"parameters":{"properties":{"a":{"pattern":"a+"}}}}}]}`, `{"logit_bias":{"1":-1}}`, `{"x":[1e3,-0.5,true,null,"\\\"\/"]}`,
	"{\"a\":\"\xff\"}", `{"a":1e999}`, `{"a":[[[[]]]]}`, ` {"stream" : true } `, `{"a":1} x`, `[1]`, ``,
}

// FuzzCopy holds the filter against encoding/json: what is accepted is JSON,
// reads the same before and after but for the node's members, and what is
// called a syntax error is one.
func FuzzCopy(f *testing.F) {
	for _, s := range seeds {
		f.Add([]byte(s))
	}
	if len(seeds) == 0 {
		f.Fatal("no seeds")
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		var out, slow bytes.Buffer
		_, err := Copy(&out, bytes.NewReader(in), opt)
		_, slowErr := Copy(&slow, iotest.OneByteReader(bytes.NewReader(in)), opt)
		if fmt.Sprint(err) != fmt.Sprint(slowErr) {
			t.Fatalf("whole: %v, byte by byte: %v", err, slowErr)
		}
		if err != nil {
			trimmed := bytes.TrimLeft(in, " \t\r\n")
			if codeOf(t, err) == Syntax && json.Valid(in) && bytes.HasPrefix(trimmed, []byte("{")) {
				t.Fatalf("valid object called a syntax error: %q", in)
			}
			if json.Valid(out.Bytes()) {
				t.Fatalf("refused, yet passed on whole: %q", out.Bytes())
			}
			return
		}
		if !bytes.Equal(out.Bytes(), slow.Bytes()) || !json.Valid(in) || !json.Valid(out.Bytes()) {
			t.Fatalf("accepted %q as %q", in, out.Bytes())
		}
		var before, after map[string]any
		if json.Unmarshal(in, &before) != nil || json.Unmarshal(out.Bytes(), &after) != nil {
			t.Fatalf("unreadable: %q", out.Bytes())
		}
		if after["cache_salt"] != "SALT" || after["model"] != "engine-m" {
			t.Fatalf("not set: %q", out.Bytes())
		}
		for _, m := range []map[string]any{before, after} {
			delete(m, "cache_salt")
			delete(m, "model")
		}
		if !reflect.DeepEqual(before, after) {
			t.Fatalf("changed: %q became %q", in, out.Bytes())
		}
	})
}

func BenchmarkCopy(b *testing.B) {
	o := opt
	o.MaxBytes = 1 << 30
	in := []byte(`{"messages":[{"role":"user","content":"` + strings.Repeat("Why is the sky blue? ", 500_000) + `"}],"model":"m"}`)
	b.SetBytes(int64(len(in)))
	for b.Loop() {
		if _, err := Copy(io.Discard, bytes.NewReader(in), o); err != nil {
			b.Fatal(err)
		}
	}
}

func TestCapHoldsTheAnswerToWhatIsPaid(t *testing.T) {
	tests := []struct {
		name, in string
		cap      int64
		code     Code // empty: passes
		tokens   int64
		tail     string // what is appended behind the salt
	}{
		{"says nothing", `{"messages":[]}`, 100, "", 100, `,"max_tokens":100}`},
		{"empty object", `{}`, 100, "", 100, `,"max_tokens":100}`},
		{"no more than the node's own bound", `{}`, 1 << 40, "", 4096, `,"max_tokens":4096}`},
		{"asks for less", `{"max_tokens":99}`, 100, "", 99, `"cache_salt":"SALT"}`},
		{"asks for exactly that", `{"max_completion_tokens":100}`, 100, "", 100, `"cache_salt":"SALT"}`},
		{"asks for one more", `{"max_tokens":101}`, 100, Class, 0, ""},
		{"the larger of two counts", `{"max_tokens":5,"n_predict":101}`, 100, Class, 0, ""},
		{"the text alone costs more", `{"max_tokens":1}`, -1, Class, 0, ""},
		{"no answer is generated", `{"input":"x"}`, 0, "", 0, `"cache_salt":"SALT"}`},
		{"a length of nothing", `{"max_tokens":null}`, 100, Range, 0, ""},
		{"a length of zero", `{"num_predict":0}`, 100, Range, 0, ""},
		{"several prompts", `{"prompt":["a","b"]}`, 100, Range, 0, ""},
		{"one prompt in a list", `{"prompt":["a"]}`, 100, "", 100, `,"max_tokens":100}`},
		{"one prompt as tokens", `{"prompt":[1,2,3]}`, 100, "", 100, `,"max_tokens":100}`},
		{"a length in a message is text", `{"messages":[{"role":"user","max_tokens":900}]}`, 100, "", 100, `,"max_tokens":100}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := opt
			calls := 0
			o.Cap = func() int64 { calls++; return tt.cap }
			out, res, err := run(tt.in, o)
			if tt.code != "" {
				if got := codeOf(t, err); got != tt.code {
					t.Fatalf("refused with %s, want %s", got, tt.code)
				}
				return
			}
			if err != nil || calls != 1 || res.Tokens != tt.tokens || !strings.HasSuffix(out, tt.tail) || !json.Valid([]byte(out)) {
				t.Fatalf("%s, %+v, %v after %d calls", out, res, err, calls)
			}
		})
	}
}
