"""The words of the domain: cases, cohorts, labels, patches, batches and views of them."""

# DICOM's words, and ours for projections
MODALITIES = ("CT", "MR", "PT", "NM", "US", "OT", "X-ray")
