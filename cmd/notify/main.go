// Command notify runs the notify program of the bot as a process of its own.
package main

import (
	"os"

	"github.com/mlops-bot/mlops-bot/shared/app"
	"github.com/mlops-bot/mlops-bot/shared/config"
)

func main() { os.Exit(app.Main(config.Notifyd)) }
