//! Tables for people: left-aligned columns, two spaces apart, as wide as their widest cell.
//!
//! Programs read `--json`.

pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub fn new<const N: usize>(head: [&str; N]) -> Self {
        Self {
            rows: vec![head.map(str::to_owned).into()],
        }
    }

    /// Rows of any number of columns, the head first.
    pub fn of(rows: Vec<Vec<String>>) -> Self {
        Self { rows }
    }

    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.into());
    }
}

impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let width = |column: usize| {
            self.rows
                .iter()
                .filter_map(|row| row.get(column))
                .map(|cell| cell.chars().count())
                .max()
                .unwrap_or(0)
        };
        for row in &self.rows {
            let mut line = String::new();
            for (column, cell) in row.iter().enumerate() {
                line.push_str(cell);
                let pad = width(column) + 2 - cell.chars().count();
                line.extend(std::iter::repeat_n(' ', pad));
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let mut table = Table::new(["ID", "NAME"]);
        table.row(["1".into(), "für dich.mp4".into()]);
        table.row(["1234".into(), "b.mp4".into()]);
        assert_eq!(
            table.to_string(),
            "ID    NAME\n1     für dich.mp4\n1234  b.mp4\n"
        );
    }
}
