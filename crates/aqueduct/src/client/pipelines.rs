use aqueduct_core::{Error, Result};

use super::references::{Edge, edge_back};
use super::{Client, check};
use crate::config::{PipelineConfig, PipelineTargets, list};

impl Client {
    /// Returns what keeps a pipeline from being run: a route that does not exist, or targets from which
    /// its events come back.
    pub(super) fn check_pipeline(&self, pipeline: &PipelineConfig) -> Vec<Error> {
        let mut errors = Vec::new();
        if let PipelineTargets::Route(route) = &pipeline.to
            && !self.0.routers.contains_key(route)
        {
            errors.push(Error::config(format!(
                "pipelines.{}.route = \"{route}\": unknown route; declared: {}; add \
                 [routes.{route}] or call `ClientBuilder::router`",
                pipeline.name,
                list(self.0.routers.keys())
            )));
        }
        let edges = self.pipeline_edges();
        if let Some(back) = edge_back(&edges, &pipeline.name) {
            let said = match *back.name == pipeline.name {
                true => "one of its targets is the stream that it reads".to_owned(),
                false => format!(
                    "pipeline {} brings its events back to the stream that it reads",
                    back.name
                ),
            };
            errors.push(Error::config(format!(
                "pipelines.{}: {said}: they would circle for ever; name other targets",
                pipeline.name
            )));
        }
        let located = errors.into_iter();
        located
            .map(|error| self.0.config.origins.locate(error))
            .collect()
    }

    /// # Errors
    /// The errors that [`check_pipeline`](Self::check_pipeline) returns, together.
    pub(crate) fn check_one_pipeline(&self, pipeline: &PipelineConfig) -> Result<()> {
        check::together(self.check_pipeline(pipeline))
    }

    fn pipeline_edges(&self) -> Vec<Edge<'_>> {
        let mut edges = Vec::new();
        for pipeline in self.0.config.pipelines.values() {
            let group = self.0.config.groups.get(&pipeline.group);
            let sources = group.into_iter().flat_map(|group| &group.streams);
            for source in sources.filter_map(|it| self.resource(it).ok()) {
                let targets = pipeline.to.streams(&self.0.config.routes).into_iter();
                edges.extend(
                    targets
                        .filter_map(|it| self.resource(it).ok())
                        .map(|target| Edge {
                            name: &pipeline.name,
                            from: source.get().identity(),
                            to: target.get().identity(),
                        }),
                );
            }
        }
        edges
    }
}
