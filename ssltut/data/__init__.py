MODALITIES = ("CT", "MR", "PT", "NM", "US", "OT", "X-ray")  # DICOM's, and ours for projections
