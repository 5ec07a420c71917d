package cache

import (
	"log"
	"maps"
	"strings"
	"time"

	"github.com/distribution/distribution/v3/configuration"
	"github.com/sirupsen/logrus"
)

// formatters are the values of log.formatter, as distribution has them; none is text.
var formatters = map[string]logrus.Formatter{
	"":     &logrus.TextFormatter{TimestampFormat: time.RFC3339Nano},
	"text": &logrus.TextFormatter{TimestampFormat: time.RFC3339Nano},
	"json": &logrus.JSONFormatter{TimestampFormat: time.RFC3339Nano, DisableHTMLEscape: true},
	"logstash": &logrus.JSONFormatter{
		TimestampFormat: time.RFC3339Nano,
		FieldMap:        logrus.FieldMap{logrus.FieldKeyFunc: "function"},
	},
}

// configureLogging sets up the logger of the process, which is the one that distribution writes to.
func configureLogging(config configuration.Log) error {
	level, err := logrus.ParseLevel(string(config.Level))
	if err != nil {
		return err
	}
	logrus.SetLevel(level)
	logrus.SetReportCaller(config.ReportCaller)
	logrus.SetFormatter(formatters[config.Formatter])
	logrus.AddHook(staticFields(config.Fields))
	log.SetFlags(0)
	log.SetOutput(serverLog{}) // net/http's client writes there
	return nil
}

// staticFields puts log.fields into every line; a field that the line has itself wins.
type staticFields map[string]any

// Levels implements logrus.Hook.
func (staticFields) Levels() []logrus.Level { return logrus.AllLevels }

// Fire implements logrus.Hook.
func (f staticFields) Fire(entry *logrus.Entry) error {
	data := make(logrus.Fields, len(f)+len(entry.Data))
	maps.Copy(data, logrus.Fields(f))
	maps.Copy(data, entry.Data)
	entry.Data = data
	return nil
}

// serverLog is where net/http tells of broken connections and of handlers that failed.
type serverLog struct{}

// Write implements io.Writer.
func (serverLog) Write(line []byte) (int, error) {
	logrus.Warn(strings.TrimSpace(string(line)))
	return len(line), nil
}
