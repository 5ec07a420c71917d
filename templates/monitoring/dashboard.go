package monitoring

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/grafana/grafana-foundation-sdk/go/cog"
	"github.com/grafana/grafana-foundation-sdk/go/cog/variants"
	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
	"github.com/grafana/grafana-foundation-sdk/go/stat"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"
	"github.com/grafana/grafana-foundation-sdk/go/units"
)

const (
	title = "Registry Caches"
	// columns are those of Grafana's grid.
	columns = 24
)

// view is how a panel shows its queries.
type view int

const (
	lines   view = iota // a line for each series
	stacked             // areas on top of each other
	steps               // lines that change at once, for what is 0 or 1
	number              // the last value
)

// panel is a panel of the dashboard as it is written in this package. A width of 0 is half of a row, or a sixth for a number.
type panel struct {
	title, description string
	unit               string
	view               view
	width              uint32
	queries            []query
}

// query is an expression of PromQL with variables of the dashboard, and the legend of its series.
type query struct{ expr, legend string }

// row is a heading with panels below.
type row struct {
	title  string
	panels []panel
}

// source is the variable for the data source.
func source() common.DataSourceRef {
	return common.DataSourceRef{Type: cog.ToPtr("prometheus"), Uid: cog.ToPtr("${datasource}")}
}

// Dashboard is the dashboard in the JSON that Grafana imports.
func Dashboard() ([]byte, error) {
	builder := dashboard.NewDashboardBuilder(title).Uid("capi-registry-caches").Tags([]string{"registry-cache", "cluster-api"}).
		Description("Pull-through caches of workload clusters: what they save, and what is wrong where. docs/alerts.md of capi-registry-cache tells more.").
		Editable().Time("now-6h", "now").Refresh("1m").Timezone(common.TimeZoneBrowser).Tooltip(dashboard.DashboardCursorSyncCrosshair)
	for _, variable := range variables() {
		builder.WithVariable(variable)
	}
	grid{builder: builder}.place(rows())
	made, err := builder.Build()
	if err != nil {
		return nil, fmt.Errorf("building the dashboard: %w", err)
	}
	var content bytes.Buffer
	encoder := json.NewEncoder(&content)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(made); err != nil {
		return nil, fmt.Errorf("encoding the dashboard: %w", err)
	}
	return content.Bytes(), nil
}

// variables are what a reader chooses. The value for all of them matches a cluster without a label, and no namespace or upstream that is
// missing: series without are not those of caches.
func variables() []cog.Builder[dashboard.VariableModel] {
	return []cog.Builder[dashboard.VariableModel]{
		dashboard.NewDatasourceVariableBuilder("datasource").Label("Data source").Type("prometheus"),
		choice("cluster", "Cluster", `registry_proxy_requests_total{upstream!=""}`, ".*"),
		choice("namespace", "Namespace", `registry_proxy_requests_total{cluster=~"$cluster",upstream!=""}`, ".+"),
		choice("upstream", "Upstream", `registry_proxy_requests_total{cluster=~"$cluster",namespace=~"$namespace",upstream!=""}`, ".+"),
	}
}

// choice is a variable with the values that a label has in some series, named as the label.
func choice(name, label, series, all string) *dashboard.QueryVariableBuilder {
	return dashboard.NewQueryVariableBuilder(name).Label(label).Datasource(source()).
		Query(dashboard.StringOrMap{String: cog.ToPtr(fmt.Sprintf("label_values(%s, %s)", series, name))}).
		Refresh(dashboard.VariableRefreshOnTimeRangeChanged).Sort(dashboard.VariableSortAlphabeticalAsc).
		Multi(true).IncludeAll(true).AllValue(all).
		Current(dashboard.VariableOption{
			Text:  dashboard.StringOrArrayOfString{ArrayOfString: []string{"All"}},
			Value: dashboard.StringOrArrayOfString{ArrayOfString: []string{"$__all"}},
		})
}

// grid places panels from left to right and from top to bottom.
type grid struct {
	builder     *dashboard.DashboardBuilder
	x, y, below uint32
	id          uint32
}

func (g grid) place(rows []row) {
	for _, row := range rows {
		g.y, g.x, g.id = g.y+g.below, 0, g.id+1
		g.builder.WithRow(dashboard.NewRowBuilder(row.title).Id(g.id).GridPos(dashboard.GridPos{H: 1, W: columns, Y: g.y}))
		g.y, g.below = g.y+1, 0
		for _, p := range row.panels {
			g.id++
			g.builder.WithPanel(p.build(g.id, g.next(p.size())))
		}
	}
}

// next is the place of a panel of some size; panels of a line have the same height.
func (g *grid) next(width, height uint32) dashboard.GridPos {
	if g.x+width > columns {
		g.x, g.y = 0, g.y+g.below
	}
	position := dashboard.GridPos{X: g.x, Y: g.y, W: width, H: height}
	g.x, g.below = g.x+width, height
	return position
}

func (p panel) size() (width, height uint32) {
	width, height = columns/2, 8
	if p.view == number {
		width, height = columns/6, 4
	}
	if p.width > 0 {
		width = p.width
	}
	return width, height
}

func (p panel) build(id uint32, position dashboard.GridPos) cog.Builder[dashboard.Panel] {
	if p.view == number {
		return stat.NewPanelBuilder().Id(id).Title(p.title).Description(p.description).Datasource(source()).GridPos(position).
			Unit(p.unit).GraphMode(common.BigValueGraphModeNone).ColorMode(common.BigValueColorModeNone).
			ReduceOptions(common.NewReduceDataOptionsBuilder().Calcs([]string{"lastNotNull"})).Targets(p.targets(true))
	}
	built := timeseries.NewPanelBuilder().Id(id).Title(p.title).Description(p.description).Datasource(source()).GridPos(position).
		Unit(p.unit).Min(0).ShowPoints(common.VisibilityModeNever).
		Legend(common.NewVizLegendOptionsBuilder().ShowLegend(true).DisplayMode(common.LegendDisplayModeList).Placement(common.LegendPlacementBottom)).
		Tooltip(common.NewVizTooltipOptionsBuilder().Mode(common.TooltipDisplayModeMulti).Sort(common.SortOrderDescending)).
		Targets(p.targets(false))
	if p.unit == units.PercentUnit {
		built.Max(1)
	}
	switch p.view {
	case stacked:
		built.FillOpacity(40).Stacking(common.NewStackingConfigBuilder().Mode(common.StackingModeNormal))
	case steps:
		built.LineInterpolation(common.LineInterpolationStepAfter).Max(1).Decimals(0)
	}
	return built
}

// targets are the queries; those of numbers are asked once, over the whole range.
func (p panel) targets(instant bool) []cog.Builder[variants.Dataquery] {
	var targets []cog.Builder[variants.Dataquery]
	for i, q := range p.queries {
		target := prometheus.NewDataqueryBuilder().Datasource(source()).RefId(string(rune('A' + i))).Expr(q.expr).LegendFormat(q.legend)
		if instant {
			target.Instant()
		} else {
			target.Range()
		}
		targets = append(targets, target)
	}
	return targets
}
