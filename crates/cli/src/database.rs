//! Where the catalog is: `--database`, else `KINORA_DATABASE`, else in the data folder.

#[derive(clap::Args)]
pub struct Database {
    /// Keep the catalog in PostgreSQL, where several servers share the work: postgres://… [default: in the data folder]
    #[arg(
        id = "database",
        long,
        value_name = "URL",
        env = "KINORA_DATABASE",
        hide_env_values = true
    )]
    pub url: Option<String>,
}
