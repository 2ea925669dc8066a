// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/sotto-project/sotto/client"
	"github.com/sotto-project/sotto/client/chat"
)

func (e *env) chat() *cobra.Command {
	var file, model string
	cmd := &cobra.Command{
		Use:   "chat",
		Short: "Ask a model privately; interactive on a terminal, else one prompt from stdin",
		Long: `On a terminal: a conversation, with /verify (check every node now), /why (what
the last report rests on), /clear (forget the conversation) and /quit.
Otherwise: one prompt from standard input or --file; the answer goes to stdout,
a line about what was verified to stderr.

Prompts are not taken from the command line: other users of a machine can read
the arguments of its processes.

Where the epoch asks for payment, the wallet of the trust file pays (sotto wallet);
what it cost stands on stderr at the end.

Exit codes: 0 answered, 10 refused, 1 failed, 2 usage.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := e.payer("sotto chat")
			if err != nil {
				return err
			}
			defer c.Close()
			if file == "" && isTerminal(cmd.InOrStdin()) {
				err := interactive(cmd.Context(), c, model, cmd.InOrStdin(), display(cmd.OutOrStdout()))
				return errors.Join(err, settle(cmd, c))
			}
			prompt, err := readPrompt(file, cmd.InOrStdin())
			if err != nil {
				return err
			}
			err = Ask(cmd.Context(), c, model, prompt, display(cmd.OutOrStdout()), cmd.ErrOrStderr())
			return errors.Join(err, settle(cmd, c))
		},
	}
	cmd.Flags().StringVar(&file, "file", "", "read the prompt from this file (- for stdin)")
	cmd.Flags().StringVar(&e.receipts, "receipts", "", receiptsFlag)
	cmd.Flags().StringVar(&model, "model", "", "model name (default: the only one of the statement)")
	return cmd
}

// Ask sends one prompt, streams the answer to out, and says on info what was
// verified.
func Ask(ctx context.Context, c *client.Client, model, prompt string, out, info io.Writer) error {
	prompt = strings.TrimSpace(prompt)
	if prompt == "" {
		return &usageError{errors.New("the prompt is empty")}
	}
	conv, err := chat.New(c, model)
	if err != nil {
		return err
	}
	if err := conv.Ask(ctx, prompt, out); err != nil {
		return err
	}
	fmt.Fprintln(out)
	if r := c.Report(); r != nil {
		fmt.Fprintln(info, r.Summary())
	}
	return nil
}

// settleWait is how long the end of a program waits for the change of its last
// answer. What does not come stays owed, and is asked for the next time.
const settleWait = 3 * time.Second

// settle says what was paid, and loudly if somebody dealt falsely with money.
func settle(cmd *cobra.Command, c *client.Client) error {
	ctx, stop := context.WithTimeout(cmd.Context(), settleWait)
	defer stop()
	c.Drain(ctx)
	if units, owed := c.Paid(); units > 0 || owed > 0 {
		line := fmt.Sprintf("paid %d units", units)
		if owed > 0 {
			line += fmt.Sprintf("; change of %d payments is owed and will be asked for (sotto wallet top: now)", owed)
		}
		errorf(cmd, "%s", line)
	}
	if times, last := c.Doubts(); last != nil {
		errorf(cmd, "%d times something came about money that nobody had signed; nothing of it was believed. The last: %s", times, printable(last))
	}
	err := c.Caught()
	if err != nil {
		errorf(cmd, "PAYMENTS STOPPED. %s\nNothing is paid from now on. Keep the wallet's folder as it is, and show this to others.", printable(err))
	}
	return err
}

const help = `/verify  check every node now and print the report
/why     what the last verification rests on
/clear   forget this conversation
/quit    leave`

// interactive talks on a terminal until /quit or the end of input. An error
// ends the question, not the conversation.
func interactive(ctx context.Context, c *client.Client, model string, in io.Reader, out io.Writer) error {
	conv, err := chat.New(c, model)
	if err != nil {
		return err
	}
	fmt.Fprintln(out, "Private chat. "+strings.ReplaceAll(help, "\n", "\n              "))
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 1<<20)
	for fmt.Fprint(out, "\n> "); lines.Scan(); fmt.Fprint(out, "\n> ") {
		line := strings.TrimSpace(lines.Text())
		var err error
		switch {
		case line == "":
			continue
		case line == "/quit" || line == "/exit":
			return nil
		case line == "/clear":
			conv, err = chat.New(c, model)
			fmt.Fprintln(out, "forgotten")
		case line == "/verify":
			var r *client.Report
			if r, err = c.Verify(ctx); r != nil {
				fmt.Fprint(out, r.Text())
			}
		case line == "/why":
			if r := c.Report(); r != nil {
				fmt.Fprint(out, r.Text())
			} else {
				fmt.Fprintln(out, "nothing was verified yet; ask something, or /verify")
			}
		case strings.HasPrefix(line, "/"):
			fmt.Fprintln(out, help)
		default:
			err = conv.Ask(ctx, line, out)
			fmt.Fprintln(out)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			fmt.Fprintln(out, err)
		}
	}
	return lines.Err()
}

// display is out, without what would drive a terminal if it is one.
func display(out io.Writer) io.Writer {
	if isTerminal(out) {
		return plainText{out}
	}
	return out
}

// plainText keeps the words of a model from being commands to a terminal: an
// escape sequence can write the clipboard or change what was shown before. A
// write must not end within a character.
type plainText struct{ w io.Writer }

func (p plainText) Write(b []byte) (int, error) {
	clean := strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\n' && r != '\t' {
			return unicode.ReplacementChar
		}
		return r
	}, string(b))
	if _, err := io.WriteString(p.w, clean); err != nil {
		return 0, err
	}
	return len(b), nil
}

func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	if !ok {
		return false
	}
	st, err := f.Stat()
	return err == nil && st.Mode()&os.ModeCharDevice != 0
}
