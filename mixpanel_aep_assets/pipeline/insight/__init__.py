"""What a day holds: property statistics, drift, previews, proposed fields, forecasts."""
