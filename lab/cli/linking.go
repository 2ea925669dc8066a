// Copyright 2026 The Sotto Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	clientcli "github.com/sotto-project/sotto/client/cli"
	"github.com/sotto-project/sotto/lab/linking"
)

func linkingCommand() *cobra.Command {
	s := linking.Linking{}
	var flaw int
	var asJSON bool
	c := &cobra.Command{
		Use:   "linking",
		Short: "How well pooled logs link purchases, spends and change",
		Long: `Plays clients that pay, with wallets and a bank as they are shipped, has each part
write down what it sees, and lets every coalition of parts guess who paid for a
request, which request a coin is the change of, and which requests are one
client's. With a fault in the wallets (--flaw 1 to 4) it shows that it notices.
docs/linking.md reads its table.`,
		Args: cobra.NoArgs, SilenceUsage: true, SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if flaw < 0 || flaw > int(linking.OldKeyset) {
				return clientcli.UsageError(fmt.Errorf("--flaw is 0 to %d", linking.OldKeyset))
			}
			s.Flaw = linking.Flaw(flaw)
			s.Progress = func(done, total int) { fmt.Fprintf(cmd.ErrOrStderr(), "\repoch %d of %d", done, total) }
			r, err := s.Run(cmd.Context())
			if err != nil {
				return clientcli.UsageError(err)
			}
			fmt.Fprintln(cmd.ErrOrStderr())
			if asJSON {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(r)
			}
			return r.WriteTable(cmd.OutOrStdout())
		},
	}
	f := c.Flags()
	f.IntVar(&s.Clients, "clients", 200, "how many clients there are")
	f.IntVar(&s.Epochs, "epochs", 12, "for how many epochs they ask")
	f.IntVar(&s.Requests, "requests", 2, "how many requests a client has in an epoch, at most")
	f.Uint64Var(&s.Seed, "seed", 1, "where chance begins; wallets draw some of their own")
	f.BoolVar(&s.Wait, "wait", false, "wallets order at a moment of their own, not when a request is over")
	f.IntVar(&flaw, "flaw", 0, "what is wrong with the wallets: 1 a blank is reused, 2 odd amounts, 3 odd change, 4 a keyset of its own")
	f.StringVar(&s.Dir, "dir", "", "folder for wallets and database, an empty one; a temporary one if not given")
	f.BoolVar(&asJSON, "json", false, "print one JSON object on stdout in place of the table")
	return c
}
